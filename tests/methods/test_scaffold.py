"""SCAFFOLD in closed form, in float64, with controls that begin at zero or with gradients."""

import pytest
import torch
from flwr.app import ConfigRecord

from tests.methods.preludes import (
    AskingFederation,
    check_batches_of_the_extra_gradient,
    check_identical_clients,
    near,
)
from tests.methods.quadratics import LR, Federation, close

THREE = [(1.0, 1.0), (2.0, -1.0), (1.0, 3.0)]


def test_scaffold_option_2() -> None:
    federation = Federation("scaffold", THREE, [2, 2, 2], local=LR)
    rounds = [
        ({0: (0.19, -0.95), 1: (-0.36, 1.8)}, -0.085, 0.2833333333),
        ({1: (-0.1414, 1.7986666667), 2: (0.4473166667, -2.9449166667)}, 0.1529583333, -0.69875),
        ({0: (0.26615875, -0.8172520833), 2: (0.2671245833, -2.8169979167)}, 0.2666416667, -0.6118611111),
    ]
    for replies, x, c in rounds:
        assert federation.round(list(replies)) == close(x)
        for client_id, (y, control) in replies.items():
            assert federation.replies[client_id]["w"].tolist() == close(y)
            assert federation.clients[client_id].state["control"]["w"].tolist() == close(control)
        assert federation.strategy.control["w"].tolist() == close(c)  # type: ignore[attr-defined]
        own = [
            client.state["control"]["w"] if client.state else torch.zeros(1) for client in federation.clients
        ]
        assert torch.stack([value.double() for value in own]).mean().item() == pytest.approx(c, abs=1e-9)


def test_scaffold_option_1() -> None:
    federation = Federation("scaffold", THREE, [2, 2, 2], local=LR, option=1)
    for cohort, x, c in (
        ([0, 1], -0.085, 0.3333333333),
        ([1, 2], 0.1617083333, -0.7516666667),
        ([0, 2], 0.2657254167, -0.6155277778),
    ):
        assert federation.round(cohort) == close(x)
        assert federation.strategy.control["w"].tolist() == close(c)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("option", "expected"), [(1, 1.0), (2, 1.0 + 0.5 * 3.0)])
def test_first_controls_have_weight_decay_if_later_ones_have(option: int, expected: float) -> None:
    local = {**LR, "optimizer.weight-decay": 0.5}
    federation = Federation(
        "scaffold", [(1.0, 2.0)], [1], start=[3.0], local=local, initialise=True, option=option
    )
    config = ConfigRecord({"server-round": 1})
    sections, _ = federation.clients[0].answer_prelude({"arrays": federation.model}, config)
    assert sections["control"]["w"].tolist() == near(expected)


def test_scaffold_server_learning_rate_does_not_touch_the_control() -> None:
    federation = Federation("scaffold", THREE, [2, 2, 2], local=LR, server_learning_rate=0.5)
    assert federation.round([0, 1]) == close(-0.0425)
    assert federation.strategy.control["w"].tolist() == close(0.2833333333)  # type: ignore[attr-defined]


def test_scaffold_with_momentum_divides_by_the_step_weights() -> None:
    federation = Federation(
        "scaffold", [(1.0, 2.0)], [3], start=[0.5], local={**LR, "optimizer.momentum": 0.9}
    )
    federation.clients[0].state = {"control": {"w": torch.tensor([-0.2], dtype=torch.float64)}}
    federation.strategy.control = {"w": torch.tensor([0.3], dtype=torch.float64)}  # type: ignore[attr-defined]
    federation.round()
    assert federation.replies[0]["w"].tolist() == close(1.014)
    assert federation.clients[0].state["control"]["w"].tolist() == close(-1.4162210339)


def test_scaffold_reaches_the_optimum_that_fedavg_misses() -> None:
    quadratics = [(1.0, 1.0), (10.0, -1.0)]
    local = {"optimizer.learning-rate": 0.05}
    scaffold, average = (
        Federation(name, quadratics, [10, 10], local=local) for name in ("scaffold", "fedavg")
    )
    for _ in range(50):
        corrected, plain = scaffold.round(), average.round()
    assert corrected == pytest.approx([-9 / 11], abs=1e-5)
    assert plain == pytest.approx([-0.42688], abs=1e-5)


def test_scaffold_with_one_client_is_fedavg() -> None:
    local = {"optimizer.learning-rate": 0.05}
    scaffold, average = (
        Federation(n, [(2.0, 0.5)], [3], start=[1.0], local=local) for n in ("scaffold", "fedavg")
    )
    for _ in range(3):
        assert scaffold.round() == pytest.approx(average.round(), abs=1e-12)


@pytest.mark.parametrize("option", [1, 2])
def test_scaffold_at_a_rate_of_zero_stays_finite(option: int) -> None:
    """A rate that has been multiplied by gamma often enough is 0: nothing moves, nothing is divided by it."""
    decay = {"schedule.name": "step", "schedule.step-rounds": 1, "schedule.gamma": 1e-38}
    local = {"optimizer.learning-rate": 1.0, **decay}
    federation = Federation("scaffold", THREE, [2] * 3, start=[0.5], local=local, option=option)
    points = [federation.round() for _ in range(12)]
    assert points[-1] == points[0] != [0.5]
    assert federation.strategy.control["w"].isfinite().all()  # type: ignore[attr-defined]


def test_the_first_round_of_scaffold_is_uniform_fedavg() -> None:
    quadratics, counts = [(1.0, 1.0), (2.0, -1.0)], [1, 9]
    scaffold = Federation("scaffold", quadratics, [3, 3], counts=counts, local=LR)
    average = Federation("fedavg", quadratics, [3, 3], counts=counts, local=LR, weighting="uniform")
    assert scaffold.round() == pytest.approx(average.round(), abs=1e-15)
    assert scaffold.round() != pytest.approx(average.round(), abs=1e-3)


def test_scaffold_corrects_nothing_between_identical_clients() -> None:
    scaffold, average = (
        Federation(name, [(2.0, 0.5)] * 3, [4] * 3, start=[1.0], local=LR) for name in ("scaffold", "fedavg")
    )
    for _ in range(4):
        assert scaffold.round() == pytest.approx(average.round(), abs=1e-12)
        control = scaffold.strategy.control["w"]  # type: ignore[attr-defined]
        for client in scaffold.clients:
            assert torch.allclose(client.state["control"]["w"], control, atol=1e-12)


def test_scaffold_with_wrong_initial_controls_would_be_seen() -> None:
    federation = Federation("scaffold", [(1.0, 1.0), (2.0, -1.0), (1.0, 3.0)], [2] * 3, local=LR)
    federation.round([0])
    assert federation.strategy.control["w"].item() == pytest.approx(-0.3166666667, abs=1e-9)  # type: ignore[attr-defined]


TWO = [(1.0, 1.0), (3.0, -1.0)]
THREE_CLIENTS = [*TWO, (2.0, 0.0)]


def test_scaffold_with_initialised_controls() -> None:
    federation = AskingFederation("scaffold", TWO, [2, 2], local=LR, initialise=True)
    assert federation.round() == near(-0.18)
    assert federation.controls() == near(-1.05, 2.85)
    assert federation.strategy.control["w"].tolist() == near(0.9)  # type: ignore[attr-defined]
    assert [federation.round()[0] for _ in range(2)] == near(-0.2965, -0.370735)
    for _ in range(60):
        (w,) = federation.round()
    assert w == pytest.approx(-0.5, abs=1e-6)  # the optimum, which FedAvg misses
    assert federation.controls() == near(-1.5, 1.5)


def test_scaffold_without_initialised_controls() -> None:
    federation = AskingFederation("scaffold", TWO, [2, 2], local=LR)
    assert [federation.round()[0] for _ in range(2)] == near(-0.16, -0.2815)


def test_scaffold_with_partial_participation() -> None:
    federation = AskingFederation("scaffold", THREE_CLIENTS, [2] * 3, local=LR, initialise=True)
    for cohort, w, control in (([0, 2], -0.1233333, 0.6333333), ([1, 2], -0.1865167, 0.4217222)):
        absent = ({0, 1, 2} - set(cohort)).pop()
        before = federation.controls()[absent] if federation.server_round else None
        assert federation.round(cohort) == near(w)
        assert federation.strategy.control["w"].tolist() == near(control)  # type: ignore[attr-defined]
        assert sum(federation.controls()) / 3 == pytest.approx(control, abs=1e-7)
        assert before in (None, federation.controls()[absent])


def test_initial_controls_have_weight_decay_like_later_ones() -> None:
    """With a decay the losses are those with h / 2 (w - b)^2 + decay / 2 w^2, controls included."""
    decayed = AskingFederation(
        "scaffold",
        THREE_CLIENTS,
        [2] * 3,
        [2.0],
        local={**LR, "optimizer.weight-decay": 0.5},
        initialise=True,
    )
    shifted = [(h + 0.5, h * b / (h + 0.5)) for h, b in THREE_CLIENTS]
    plain = AskingFederation("scaffold", shifted, [2] * 3, [2.0], local=LR, initialise=True)
    for cohort in ([0, 2], [1, 2], [0, 1]):
        assert decayed.round(cohort) == pytest.approx(plain.round(cohort), abs=1e-12)
        assert decayed.controls() == pytest.approx(plain.controls(), abs=1e-12)


def test_identical_clients_have_no_correction() -> None:
    check_identical_clients("scaffold", initialise=True)


def test_the_mini_batches_of_an_extra_gradient() -> None:
    """As many as the round has local steps."""
    check_batches_of_the_extra_gradient("scaffold", 4, initialise=True)
