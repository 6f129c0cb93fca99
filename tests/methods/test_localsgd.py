"""Local SGD in closed form, in float64, and through the whole engine: streams, phases, resume."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from clients._configuration import complete
from clients.base import Client
from clients.local.sampling import iterate_stream
from clients.local.worker import Worker
from common.errors import UserError
from common.sections import Value
from tests.conftest import Runner, small_config
from tests.methods.quadratics import LR, Federation
from tests.rows import untimed

# f1 = (w - 1)^2 / 2 and f2 = 3 (w + 1)^2 / 2 from w = 0.
TWO = [(1.0, 1.0), (3.0, -1.0)]


MOMENTUM = {"optimizer.learning-rate": 0.1, "optimizer.momentum": 0.9}


def rounds(federation: Federation, count: int) -> list[float]:
    return [federation.round()[0] for _ in range(count)]


def test_two_quadratics() -> None:
    assert rounds(Federation("localsgd", TWO, [2, 2], local=LR), 2) == pytest.approx(
        [-0.16, -0.264], abs=1e-12
    )
    limits = [rounds(Federation("localsgd", TWO, [h, h], local=LR), 120)[-1] for h in (2, 1)]
    assert limits == pytest.approx([-16 / 35, -0.5], abs=1e-9)


def test_two_clients_of_the_course() -> None:
    quadratics = [(1.0, 1.0), (2.0, -1.0)]
    federation = Federation("localsgd", quadratics, [2, 2], counts=[1, 9], local=LR)
    assert rounds(federation, 2) == pytest.approx([-0.085, -0.146625], abs=1e-12)  # whatever the clients hold
    parallel = Federation("localsgd", quadratics, [1, 1], local=LR)
    assert rounds(parallel, 2)[-1] == pytest.approx(-0.0925, abs=1e-12)


@pytest.mark.parametrize(
    ("momentum", "steps", "expected"),
    [
        ("keep", 2, [-0.25, -0.5673, -0.675229]),
        ("average", 2, [-0.25, -0.597, -0.77845]),
        ("reset", 2, [-0.25, -0.3675, -0.422725]),
        ("keep", 1, [-0.1, -0.27, -0.469]),
        ("average", 1, [-0.1, -0.27, -0.469]),
        ("reset", 1, [-0.1, -0.18, -0.244]),
    ],
)
def test_what_becomes_of_momentum(momentum: str, steps: int, expected: list[float]) -> None:
    federation = Federation("localsgd", TWO, [steps, steps], local=MOMENTUM, momentum=momentum)
    assert rounds(federation, 3) == pytest.approx(expected, abs=1e-6)


def test_without_momentum_nothing_is_kept() -> None:
    kinds = [
        rounds(Federation("localsgd", TWO, [3, 3], local=LR, momentum=kind), 4)
        for kind in ("keep", "average", "reset")
    ]
    assert kinds[0] == kinds[1] == kinds[2]


@pytest.mark.parametrize("momentum", ["keep", "average"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_one_client_is_its_optimiser_bit_for_bit(momentum: str, optimizer: str) -> None:
    local = {
        "optimizer.learning-rate": 0.1,
        "optimizer.name": optimizer,
        "optimizer.momentum": 0.9 if optimizer == "sgd" else 0.0,
    }
    one, many = (
        Federation("localsgd", [(2.0, [0.3, -0.7])], [h], start=[1.0, 5.0], local=local, momentum=momentum)
        for h in (1, 6)
    )
    w = torch.tensor([1.0, 5.0], dtype=torch.float64, requires_grad=True)
    plain = (
        torch.optim.SGD([w], lr=0.1, momentum=0.9, fused=True)
        if optimizer == "sgd"
        else torch.optim.AdamW([w], lr=0.1, weight_decay=0.0, fused=True)
    )
    for _ in range(12):
        plain.zero_grad()
        (2.0 / 2 * (w - torch.tensor([0.3, -0.7], dtype=torch.float64)) ** 2).sum().backward()
        plain.step()
    for _ in range(12):
        one.round()
    for _ in range(2):
        many.round()
    assert one.w.tolist() == many.w.tolist() == w.tolist()


def test_identical_clients_are_one() -> None:
    one, five = (
        Federation("localsgd", [(2.0, 0.5)] * k, [4] * k, start=[1.0], local=MOMENTUM) for k in (1, 5)
    )
    for _ in range(4):
        assert five.round() == pytest.approx(one.round(), abs=1e-14)


def test_phases_that_change_nothing_change_nothing() -> None:
    plain = Federation("localsgd", TWO, [3, 3], local=MOMENTUM)
    phased = Federation("localsgd", TWO, [3, 3], local={**MOMENTUM, "local.phases": "6,13"})
    for _ in range(6):
        assert phased.round() == plain.round()


def test_steps_and_rates_change_at_the_border() -> None:
    course = {"local.phases": "2:3", "schedule.phase-gamma": 0.5}
    federation = Federation("localsgd", [(1.0, 0.0)], [1], start=[1.0], local={**LR, **course})
    assert rounds(federation, 4) == pytest.approx(
        [0.9, 0.9**2, 0.9**2 * 0.95**3, 0.9**2 * 0.95**6], abs=1e-12
    )


def test_the_warm_up_goes_on_within_rounds() -> None:
    local = {"optimizer.learning-rate": 0.4, "schedule.warmup-learning-rate": 0.1, "schedule.warmup-steps": 6}
    one, many = (Federation("localsgd", [(1.0, 0.0)], [h], start=[1.0], local=local) for h in (1, 4))
    expected = 1.0
    for rate in (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.4):
        expected *= 1 - rate
    assert rounds(one, 8)[-1] == pytest.approx(expected, abs=1e-12)
    assert rounds(many, 2)[-1] == pytest.approx(expected, abs=1e-12)


def test_outer_optimisers_are_those_of_the_server_methods() -> None:
    for outer, method, rate, parameters in (
        ("momentum", "fedavgm", 0.7, {"beta": 0.8}),
        ("nesterov", "fedavgm", 0.7, {"beta": 0.8, "nesterov": True}),
        ("adam", "fedadam", 0.05, {"beta1": 0.8, "beta2": 0.95, "tau": 0.01}),
    ):
        given = {"outer_beta2": 0.95, "outer_tau": 0.01} if outer == "adam" else {}
        ours = Federation(
            "localsgd", TWO, [2, 2], local=LR, outer_optimizer=outer, outer_learning_rate=rate,
            outer_momentum=0.8, **given,
        )  # fmt: skip
        other = Federation(method, TWO, [2, 2], local=LR, server_learning_rate=rate, **parameters)  # type: ignore[arg-type]
        for _ in range(4):
            assert ours.round() == other.round()


def test_an_outer_optimiser_of_rate_one_without_momentum_is_the_mean() -> None:
    outer = Federation("localsgd", TWO, [2, 2], local=LR, outer_optimizer="nesterov", outer_momentum=0.0)
    plain = Federation("localsgd", TWO, [2, 2], local=LR)
    for _ in range(4):
        assert outer.round() == pytest.approx(plain.round(), abs=1e-14)


@pytest.mark.parametrize(
    "keys",
    [
        {"method__outer_momentum": 0.5},
        {"method__outer_optimizer": "nesterov", "method__outer_beta2": 0.5},
    ],
)
def test_rates_of_an_outer_optimiser_that_is_not_there(keys: dict[str, Value]) -> None:
    with pytest.raises(UserError, match=r"method\.outer-.* would have no effect: it needs"):
        complete(small_config(method__name="localsgd", **keys))


WORKERS = {
    "method__name": "localsgd",
    "model__name": "mlp",
    "clients__count": 4,
    "clients__fraction": 1.0,
    "partition__name": "iid",
    "local__epochs": 0,
    "local__steps": 1,
    "local__batch_size": 8,
    "local__sampling": "shuffle",
    "schedule__name": "constant",
    "checkpoint__every": 100,
    "evaluate__every": 100,
}


KEPT_MOMENTUM = {"optimizer__momentum": 0.9, "method__momentum": "keep"}


def model(run_directory: Path) -> dict[str, torch.Tensor]:
    return load_file(run_directory / "model.safetensors")


def model_hash(run_directory: Path) -> str:
    return str(json.loads((run_directory / "summary.json").read_text())["model_sha256"])


def test_one_step_a_round_is_sgd_on_the_union_of_the_batches(run_small: Runner) -> None:
    options = {
        **WORKERS,
        "augmentation__name": "none",
        "optimizer__learning_rate": 0.5,
        "optimizer__weight_decay": 0.01,
    }
    ours = model(run_small(rounds=5, **options))
    worker = Worker(small_config(rounds=5, **options))
    optimizer = torch.optim.SGD(worker.parameters.values(), lr=0.5, weight_decay=0.01)
    for server_round in range(1, 6):
        batches = []
        for client_id in range(4):
            client = Client(worker, client_id)
            client.server_round = server_round
            batches += list(iterate_stream(client, client.budget))
        union = torch.cat(batches)
        assert len(union.unique()) == 32
        optimizer.zero_grad()
        logits = worker.model(worker.normalizer(worker.train.inputs[union]))
        torch.nn.functional.cross_entropy(logits, worker.train.targets[union]).backward()
        optimizer.step()
    for name, value in worker.model_state.items():
        torch.testing.assert_close(ours[name], value.detach(), rtol=1e-6, atol=1e-7)


def test_one_client_is_the_same_for_any_number_of_local_steps(run_small: Runner) -> None:
    """With augmentation and dropout, whose draws belong to steps as well."""
    options = {
        **WORKERS, **KEPT_MOMENTUM, "clients__count": 1,
        "model__name": "small-cnn", "schedule__warmup_steps": 9, "schedule__name": "cosine-steps",
    }  # fmt: skip
    hashes = {
        model_hash(run_small(f"h{steps}", rounds=12 // steps, **{**options, "local__steps": steps}))
        for steps in (1, 4, 12)
    }
    assert len(hashes) == 1
    phased = run_small(
        "phases", rounds=7, **{**options, "local__phases": "4:2,8:4", "local__total_steps": 12}
    )
    assert model_hash(phased) in hashes


def test_resume_within_a_phase_and_across_borders(run_small: Runner) -> None:
    options = {
        **WORKERS, **KEPT_MOMENTUM, "local__phases": "4:3,10:2",
        "schedule__phase_gamma": 0.5, "evaluate__every": 1, "schedule__warmup_steps": 6,
        "local__total_steps": 15,
    }  # fmt: skip
    whole = run_small("whole", rounds=9, **options)
    for rounds in (2, 4, 5, 9):  # borders lie after rounds 4 and 6
        parts = run_small("parts", rounds=rounds, run__resume=rounds > 2, **options)
    assert model_hash(parts) == model_hash(whole)
    rows = untimed(pd.read_csv(whole / "metrics.csv"))
    pd.testing.assert_frame_equal(rows[rows.columns], pd.read_csv(parts / "metrics.csv")[rows.columns])
    assert rows["local_steps"].tolist()[1:] == [4 * steps for steps in (1, 1, 1, 1, 3, 3, 2, 2, 1)]
    assert rows["samples"].tolist()[1:] == [8 * 4 * steps for steps in (1, 1, 1, 1, 3, 3, 2, 2, 1)]
    rates = [0.05 * min(t, 6) / 6 for t in range(15)]
    means = [rates[0], rates[1], rates[2], rates[3], sum(rates[4:7]) / 6, sum(rates[7:10]) / 6]
    assert rows["learning_rate"].tolist()[1:7] == pytest.approx(means, rel=1e-5)


def test_streams_go_on_where_the_server_decides_the_steps(run_small: Runner) -> None:
    """One client is its optimiser whatever the rule makes of the rounds."""
    options = {**WORKERS, **KEPT_MOMENTUM, "clients__count": 1, "schedule__name": "cosine-steps"}
    fixed = run_small("fixed", rounds=12, **options, local__total_steps=12)
    ruled = {**options, "steps__rule": "doubling", "steps__min": 1, "steps__max": 4, "local__total_steps": 12}
    assert model_hash(run_small("ruled", rounds=20, **ruled)) == model_hash(fixed)


def test_a_last_round_that_is_left_out_is_told(run_small: Runner) -> None:
    log = run_small(rounds=2, **WORKERS, local__total_steps=3) / "log.txt"
    assert "2 rounds make 2 of local.total-steps = 3: rounds = 3 would make all" in log.read_text()


def test_a_method_that_needs_one_rate_per_round_is_refused(run_small: Runner) -> None:
    options = {**WORKERS, "method__name": "scaffold", "schedule__warmup_steps": 3}
    with pytest.raises(UserError, match="computes with one learning rate per round"):
        run_small(**options)


def test_only_averaged_buffers_travel(run_small: Runner) -> None:
    sent = {
        kind: pd.read_csv(
            run_small(kind, rounds=2, **{**WORKERS, **KEPT_MOMENTUM, "method__momentum": kind})
            / "metrics.csv"
        )
        for kind in ("keep", "average")
    }
    keep, average = (sent[kind][["bytes_down", "bytes_up"]].iloc[1:].to_numpy().tolist() for kind in sent)
    assert average == [[keep[0][0], 2 * keep[0][1]], [2 * keep[1][0], 2 * keep[1][1]]]


@pytest.mark.parametrize(
    ("keys", "first", "later", "up"),
    [
        ({"method__name": "localsgd", "method__momentum": "keep"}, 1, 1, 1),
        ({"method__name": "localsgd", "method__momentum": "average"}, 1, 2, 2),
        (
            {"method__name": "slowmo", "method__momentum": "keep"},
            1,
            1,
            1,
        ),  # the slow buffer stays where it is
        ({"method__name": "slowmo"}, 1, 2, 2),
    ],
    ids=str,
)
def test_bytes_are_those_of_models_and_of_averaged_buffers(
    run_small: Runner, keys: dict[str, str], first: int, later: int, up: int
) -> None:
    rows = pd.read_csv(run_small(rounds=3, **{**WORKERS, "optimizer__momentum": 0.9, **keys}) / "metrics.csv")
    one = 4 * 4 * (64 * 64 + 64 + 64 * 10 + 10)  # four clients, float32, a hidden layer of 64
    assert rows["bytes_down"].tolist()[1:] == [first * one, later * one, later * one]
    assert rows["bytes_up"].tolist()[1:] == [up * one] * 3
