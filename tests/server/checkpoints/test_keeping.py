"""``checkpoint.keep``: which checkpoints are on disk after a run, a resume, and a kill between."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.checkpoint_files import committed_rounds
from common.errors import UserError
from common.sections import Value
from server.checkpoints.checkpoint import ALWAYS, BEST, Checkpoint, CheckpointStore
from server.checkpoints.keeping import Keeping
from tests.conftest import Runner, small_config

STEP: dict[str, Value] = {"schedule__name": "step", "schedule__step_rounds": 3}


def rounds_of(run: Path) -> list[int]:
    return committed_rounds(run / "checkpoints")


def model_hash(run: Path) -> str:
    return str(json.loads((run / "summary.json").read_text())["model_sha256"])


def test_nothing_more_is_kept_by_default(run_small: Runner) -> None:
    run = run_small(rounds=5, checkpoint__every=2)
    assert rounds_of(run) == [4, 5]
    assert all("keep" not in json.loads(path.read_text()) for path in (run / "checkpoints").glob("r*.json"))


def test_rounds_and_drops_of_the_rate_stay_also_after_a_resume(run_small: Runner) -> None:
    keys: dict[str, Value] = {**STEP, "checkpoint__every": 5, "checkpoint__keep": "1, decay,4-40:30"}
    whole = run_small("whole", rounds=8, **keys)
    # 1 and 4 are listed, the rate drops after 3 and 6, and 8 and the one before it are the last two.
    assert rounds_of(whole) == [1, 3, 4, 6, 8]
    run_small("parts", rounds=5, **keys)
    assert rounds_of(run_small("plain", rounds=8, **{**keys, "checkpoint__keep": ""})) == [5, 8]
    parts = run_small("parts", rounds=8, run__resume=True, **keys)
    assert rounds_of(parts) == rounds_of(whole)
    assert model_hash(parts) == model_hash(whole) == model_hash(whole.with_name("plain"))
    # What was kept is not lost to a later command without the key.
    run_small("parts", rounds=10, run__resume=True, **{**keys, "checkpoint__keep": ""})
    assert rounds_of(parts) == [1, 3, 4, 6, 8, 10]


def test_a_kill_between_leaves_what_was_kept_and_the_run_resumes_from_the_newest(
    run_small: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: dict[str, Value] = {**STEP, "checkpoint__every": 100, "checkpoint__keep": "1,3,5"}
    whole = run_small("whole", rounds=6, **keys)
    collect = CheckpointStore._collect_garbage

    def die(self: CheckpointStore, server_round: int) -> Any:
        if server_round == 5:
            raise KeyboardInterrupt
        return collect(self, server_round)

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointStore, "_collect_garbage", die)
        with pytest.raises(KeyboardInterrupt):
            run_small("killed", rounds=6, **keys)
    killed = whole.with_name("killed")
    assert rounds_of(killed) == [1, 3, 5]
    run_small("killed", rounds=6, run__resume=True, **keys)
    assert "resumed after round 5 of 6" in (killed / "log.txt").read_text()
    assert rounds_of(killed) == [1, 3, 5, 6]
    assert model_hash(killed) == model_hash(whole)


def test_the_best_round_stays_until_a_better_one(run_small: Runner) -> None:
    # The rate is so large that the model gets worse, wherever it was best.
    run = run_small(
        rounds=6, checkpoint__every=1, checkpoint__keep="best", evaluate__every=1, optimizer__clip_norm=1.0,
        optimizer__learning_rate=0.1, schedule__name="step", schedule__step_rounds=3, schedule__gamma=100.0,
    )  # fmt: skip
    best = json.loads((run / "summary.json").read_text())["best.round"]
    assert rounds_of(run) == sorted({best, 5, 6})
    assert best < 5


def marks(keeping: Keeping, rows: list[dict[str, float]]) -> list[list[str]]:
    return [keeping.marks(number, row) for number, row in enumerate(rows, start=1)]


def test_the_best_is_by_validation_data_where_there_are_some() -> None:
    keeping = Keeping(small_config(checkpoint__keep="best,2"))
    both = [(0.5, 0.1), (0.4, 0.9), (0.5, 0.9), (0.6, 0.2)]
    rows = [
        {"validation_accuracy": a, "validation_loss": 1.0, "test_accuracy": b, "test_loss": 1.0}
        for a, b in both
    ]
    assert marks(keeping, rows) == [[BEST], [ALWAYS], [], [BEST]]
    again = Keeping(small_config(checkpoint__keep="best"))
    again.restore(keeping.state())
    assert marks(again, [rows[0], {"train_loss": 0.0}, {**rows[0], "validation_accuracy": 0.7}]) == [
        [],
        [],
        [BEST],
    ]


def test_without_validation_data_by_test_data_and_without_accuracies_by_loss() -> None:
    keeping = Keeping(small_config(checkpoint__keep="best"))
    rows = [{"test_accuracy": value, "test_loss": 1 - value} for value in (0.3, 0.2, 0.4)]
    assert marks(keeping, rows) == [[BEST], [], [BEST]]
    keeping = Keeping(small_config(checkpoint__keep="best"))
    assert marks(keeping, [{"test_loss": value} for value in (float("nan"), 2.0, 3.0, 1.0)]) == [
        [],
        [BEST],
        [],
        [BEST],
    ]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"schedule__name": "milestones", "schedule__milestones": "0.5,0.75", "rounds": 8}, [4, 6]),
        ({"schedule__name": "step", "schedule__step_rounds": 3, "rounds": 6}, [3]),
        ({"schedule__name": "step", "schedule__step_rounds": 9, "rounds": 6}, []),
    ],
)
def test_decay_is_the_last_round_before_a_drop(keys: dict[str, Value], expected: list[int]) -> None:
    config = small_config(checkpoint__keep="decay", **keys)
    keeping = Keeping(config)
    assert [number for number in range(1, config.rounds + 1) if keeping.marks(number, {})] == expected
    assert bool(list(keeping.remarks())) == (not expected)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"checkpoint__keep": "bset"}, r"checkpoint.keep must list rounds .* not 'bset' \(or 'decay', or"),
        ({"checkpoint__keep": "best,"}, "checkpoint.keep must list rounds"),
        ({"checkpoint__keep": "0"}, "checkpoint.keep must list rounds"),
        ({"checkpoint__keep": True}, "checkpoint.keep must be"),
        ({"checkpoint__keep": "decay", "schedule__name": "constant"}, "checkpoint.keep 'decay'.*'constant'"),
        ({"checkpoint__keep": "decay", "schedule__name": "cosine"}, "checkpoint.keep 'decay'.*every round"),
    ],
)
def test_what_cannot_be_is_one_line_that_names_the_key(keys: dict[str, Value], expected: str) -> None:
    with pytest.raises(UserError, match=expected) as raised:
        Keeping(small_config(**keys))
    assert "\n" not in str(raised.value)


COMMITS = st.lists(
    st.tuples(
        st.sets(st.integers(0, 2)),  # who trained
        st.sets(st.sampled_from([ALWAYS, BEST])),
        st.booleans(),  # whether another process commits it
    ),
    min_size=1,
    max_size=10,
)


@settings(max_examples=20)
@given(commits=COMMITS)
def test_what_stays_has_its_clients_states_and_nothing_else_is_left(
    tmp_path_factory: pytest.TempPathFactory, commits: list[tuple[set[int], set[str], bool]]
) -> None:
    directory = tmp_path_factory.mktemp("store") / "checkpoints"
    store = CheckpointStore(directory)
    written: dict[int, int] = {}  # client → round of its state
    history: dict[int, dict[int, int]] = {}
    for number, (trained, kept, is_new) in enumerate(commits, start=1):
        if is_new:
            store = CheckpointStore(directory)
            store.load_latest()
        saved = Checkpoint(number, {"w": torch.full((2,), float(number))}, ({}, {}), {}, {})
        states = ((i, {"s": {"w": torch.tensor([float(number)])}}) for i in sorted(trained))
        store.commit(saved, states, marks=kept)
        written |= dict.fromkeys(trained, number)
        history[number] = dict(written)
    last = len(commits)
    best = [number for number, (_, kept, _) in enumerate(commits, start=1) if BEST in kept][-1:]
    always = [number for number, (_, kept, _) in enumerate(commits, start=1) if ALWAYS in kept]
    expected = sorted({*always, *best, *range(max(1, last - 1), last + 1)})
    assert committed_rounds(directory) == expected
    for number in expected:
        found = CheckpointStore(directory).load_round(number)
        assert found.arrays["w"].tolist() == [number, number]
        held = {client: int(found.clients[client]["s"]["w"]) for client in found.clients}
        assert held == history[number]
    needed = {(client, made) for number in expected for client, made in history[number].items()}
    files = [path.stem.split("-") for path in directory.glob("clients/*/*")]
    assert {(int(name[1]), int(name[3])) for name in files} == needed
