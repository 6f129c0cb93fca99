"""What clients send of compressed changes, and what they keep of what was left out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from clients.base import Client
from clients.local.compression import LEFT_OUT, compressed
from clients.local.worker import Worker
from common.compressions import compression_generator, compression_of
from common.errors import UserError
from common.records import Tensors
from common.sections import Value
from runtimes.threads import ThreadsGrid
from tests.clients.jobs import global_model, small
from tests.conftest import Runner, example_of, small_config

FEEDBACK: dict[str, Value] = {
    "compression__name": "top-k",
    "compression__fraction": 0.1,
    "compression__error_feedback": True,
}
EVERY: list[dict[str, Value]] = [
    FEEDBACK,
    {"compression__name": "random-k"},
    {"compression__name": "qsgd", "compression__bits": 3},
    {"compression__name": "sign"},
]


def client_after(
    round_number: int, changes: Mapping[str, float], **options: Value
) -> tuple[Client, Tensors, Tensors]:
    """Return a client that was sent a model, that model, and one that differs by a ramp times `changes`."""
    config = small(**options)
    start = global_model(config)
    client = Client(Worker(config), 2)
    client.received, client.server_round = {"arrays": start}, round_number
    ramps = {name: torch.arange(1.0, value.numel() + 1).view(value.shape) for name, value in start.items()}
    return client, start, {name: start[name] + changes.get(name, 0.0) * ramp for name, ramp in ramps.items()}


@pytest.mark.parametrize("name", ["top-k", "random-k", "sign"])
def test_what_arrives_and_what_is_left_out_are_all_changes(name: str) -> None:
    """With error feedback the sum of what arrived in t rounds is that of the changes, less what is kept."""
    options: dict[str, Value] = {"compression__name": name, "compression__error_feedback": True}
    compression = compression_of(small(**options))
    assert compression is not None
    state: Any = {}
    arrived, made = torch.zeros(64), torch.zeros(64)
    for number, factor in enumerate([1.0, -0.5, 0.25], start=1):
        client, start, trained = client_after(number, {"fc1.bias": factor}, **options)
        client.state = state
        place = list(start).index("fc1.bias")
        data = compressed(client, {"arrays": trained})["arrays"]["fc1.bias"]
        generator = compression_generator(0, number, 2, place)
        arrived += compression.decode(data, 64, torch.float32, generator)
        made += trained["fc1.bias"] - start["fc1.bias"]
        state = client.state
        torch.testing.assert_close(arrived + state[LEFT_OUT]["fc1.bias"], made, rtol=1e-4, atol=1e-4)
    assert state[LEFT_OUT].keys() == client.params.keys()


def test_only_trainable_arrays_are_compressed_and_other_sections_are_sent_as_they_are() -> None:
    options: dict[str, Value] = {
        "model__name": "stage-resnet",
        "model__width": 8,
        "compression__name": "sign",
    }
    client, _, trained = client_after(1, {}, **options)
    other = {"control": {"c": torch.ones(3)}}
    sent = compressed(client, {"arrays": trained, **other})
    assert sent["control"] is other["control"]
    for name, value in sent["arrays"].items():
        assert (value.dtype == torch.uint8) == (name in client.params), name
        assert name in client.params or value is trained[name]
    assert LEFT_OUT not in client.state


def test_values_that_are_not_finite_are_sent_as_they_are() -> None:
    client, _, trained = client_after(1, {}, compression__name="random-k")
    trained["fc1.bias"][3] = float("nan")
    assert compressed(client, {"arrays": trained})["arrays"]["fc1.bias"] is trained["fc1.bias"]


def metrics(path: Path) -> pd.DataFrame:
    return pd.read_csv(path / "metrics.csv").set_index("round")


@pytest.mark.parametrize("options", EVERY)
def test_messages_are_shorter_by_what_the_compression_says(
    run_small: Runner, options: dict[str, Value]
) -> None:
    whole, short = metrics(run_small("whole", rounds=1)), metrics(run_small("short", rounds=1, **options))
    compression = compression_of(small_config(**options))
    assert compression is not None
    model = global_model(small_config())
    expected = sum(
        len(compression.encode(torch.ones(value.numel()), torch.Generator())) for value in model.values()
    )
    assert whole["bytes_up"][1] == 3 * sum(value.nbytes for value in model.values())
    assert short["bytes_up"][1] == 3 * expected
    assert short["bytes_down"][1] == whole["bytes_down"][1]


def test_everything_sent_is_nearly_the_same_as_no_compression(run_small: Runner) -> None:
    """x + (y - x) is y up to rounding."""
    whole = load_file(run_small("whole") / "model.safetensors")
    sent = load_file(
        run_small("all", compression__name="top-k", compression__fraction=1.0) / "model.safetensors"
    )
    for name, value in whole.items():
        torch.testing.assert_close(sent[name], value, rtol=1e-4, atol=1e-5)


def same(first: Path, second: Path) -> bool:
    return all(
        np.array_equal(*pair)
        for pair in zip(
            *(load_file(path / "model.safetensors").values() for path in (first, second)), strict=True
        )
    )


@pytest.mark.parametrize("options", EVERY)
def test_a_resumed_run_and_one_in_threads_have_the_same_bits(
    run_small: Runner, options: dict[str, Value]
) -> None:
    whole = run_small("whole", rounds=4, **options)
    run_small("parts", rounds=2, **options)
    assert same(whole, run_small("parts", rounds=4, run__resume=True, **options))
    threads = run_small(
        "threads", ThreadsGrid, rounds=4, runtime__name="threads", runtime__workers=2, **options
    )
    assert same(whole, threads)


@pytest.mark.parametrize("options", EVERY[:2])
def test_a_stack_sends_what_clients_send_one_by_one(run_small: Runner, options: dict[str, Value]) -> None:
    paths = [run_small(f"{size}", runtime__stack=size, rounds=2, **options) for size in (1, 3)]
    one, stack = (metrics(path) for path in paths)
    assert one["bytes_up"].equals(stack["bytes_up"])
    assert one["test_loss"].tolist() == pytest.approx(stack["test_loss"].tolist(), rel=1e-3)


@pytest.mark.parametrize(
    "method",
    ["scaffold", "fedavgm", "moon", "fedper", "feddyn", "heterofl", "inco", "fedbuff", "flwr:FedMedian"],
)
def test_methods_learn_from_compressed_changes(run_small: Runner, method: str) -> None:
    name, more = ("heteroavg", {"method__inco": True}) if method == "inco" else (method, {})
    example = {**example_of(name), **more, "method__name": name, "rounds": 2}
    plain = metrics(run_small("plain", **example))
    rows = metrics(run_small("run", **example, compression__name="qsgd", compression__bits=8))
    assert rows["train_loss"].iloc[-1] == pytest.approx(plain["train_loss"].iloc[-1], rel=0.2)
    assert rows["bytes_up"].iloc[-1] < plain["bytes_up"].iloc[-1]


def test_clients_with_initial_models_of_their_own_send_the_first_one_as_it_is(run_small: Runner) -> None:
    options: dict[str, Value] = {"model__individual_init": True, "clients__fraction": 1.0, "rounds": 2}
    rows = metrics(run_small("run", compression__name="sign", **options))
    assert rows["bytes_up"][1] == rows["bytes_down"][1]
    assert rows["bytes_up"][2] < rows["bytes_down"][2] / 20


def test_what_is_left_out_is_in_the_checkpoint(run_small: Runner) -> None:
    path = run_small("run", rounds=1, **FEEDBACK)
    states = [load_file(file) for file in (path / "checkpoints").rglob("*client*.safetensors")]
    assert len(states) == 3
    assert all(any(key.startswith(LEFT_OUT) for key in state) for state in states)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"method__name": "local-only", "compression__name": "sign"},
            "would have no effect: clients of 'local-only'",
        ),
        (
            {**example_of("gossip-sgd"), "method__name": "gossip-sgd", "compression__name": "sign"},
            "to each other",
        ),
        ({**example_of("heterofl"), "method__name": "heterofl", **FEEDBACK}, "clients hold parts of it"),
    ],
)
def test_where_there_is_nothing_to_compress_it_is_refused(
    run_small: Runner, options: dict[str, Value], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run_small("run", **options)


OWN = """
import torch
from common.compressions import Compression

class Own(Compression):
    def encode(self, change, generator):
        return {encoded}

    def decode(self, data, size, dtype, generator):
        return {decoded}
"""


@pytest.mark.parametrize(
    ("encoded", "decoded", "message"),
    [
        ("change", "data", "what Own.encode returns must be bytes"),
        ("change.view(torch.uint8)", "data", "what Own.decode returns has .change. as uint8"),
    ],
)
def test_a_compression_of_ones_own_that_returns_something_else_is_one_line(
    run_small: Runner, tmp_path: Path, encoded: str, decoded: str, message: str
) -> None:
    (tmp_path / "mine" / "compressions").mkdir(parents=True)
    file = tmp_path / "mine" / "compressions" / "own.py"
    file.write_text(OWN.format(encoded=encoded, decoded=decoded))
    own: dict[str, Value] = {"compression__name": "own", "compression__error_feedback": True}
    with pytest.raises(UserError, match=message):
        run_small("run", plugins=str(tmp_path / "mine"), **own)
