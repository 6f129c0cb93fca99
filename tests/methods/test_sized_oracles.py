"""Closed-form numbers of the methods for clients of several sizes, in float64."""

import pytest
import torch

from clients.base import Client
from clients.local.batches import Batch
from common.records import Tensors
from tests.methods.federation import Loss
from tests.methods.quadratics import Federation, quadratic
from tests.methods.sized import SizedFederation

LR = {"optimizer.learning-rate": 0.1}
METHODS = ["heteroavg", "heteroprox", "heteronova", "heteroscaffold"]


def slopes(**gradients: float) -> Loss:
    """A linear loss: every step moves an entry by -lr times its gradient."""

    def loss(client: Client, params: Tensors, batch: Batch) -> torch.Tensor:
        return torch.stack([gradients[name] * value.sum() for name, value in params.items()]).sum()

    return loss


def wells(**minima: float) -> Loss:
    """A sum of parabolas."""

    def loss(client: Client, params: Tensors, batch: Batch) -> torch.Tensor:
        return torch.stack([((value - minima[name]) ** 2).sum() / 2 for name, value in params.items()]).sum()

    return loss


def federation(method: str, steps: tuple[int, ...] = (2, 3, 4), **parameters: float | str) -> SizedFederation:
    losses = [wells(w=5), wells(w=-1, v=2), wells(w=2, v=-3)]
    values, sizes = {"w": [1.0], "v": [4.0]}, ["w", "wv", "wv"]
    return SizedFederation(method, values, sizes, losses, steps, [10, 20, 50], LR, **parameters)


@pytest.mark.parametrize(("weighting", "w", "v"), [("uniform", 7 / 3, 4.5), ("examples", 3.1, 5.0)])
def test_o11_averages_over_holders(weighting: str, w: float, v: float) -> None:
    # One step of lr 1 from zero ends at minus the gradient.
    losses = [slopes(w=-1), slopes(w=-2, v=-3), slopes(w=-4, v=-6)]
    run = SizedFederation(
        "heteroavg",
        {"w": [0.0], "v": [0.0]},
        ["w", "wv", "wv"],
        losses,
        [1, 1, 1],
        counts=[100, 300, 600],
        local={"optimizer.learning-rate": 1.0},
        weighting=weighting,
    )
    model = run.run_round()
    assert model["w"].item() == pytest.approx(w, abs=1e-12)
    assert model["v"].item() == pytest.approx(v, abs=1e-12)


def test_o25_nova_over_two_holders() -> None:
    losses = [slopes(w=1.5), slopes(w=1.0)]  # 1 -> .7 in 2 steps, 1 -> .6 in 4
    run = SizedFederation("heteronova", {"w": [1.0]}, ["w", "w"], losses, [2, 4], local=LR)
    assert run.run_round()["w"].item() == pytest.approx(0.625, abs=1e-12)
    plain = SizedFederation("heteroavg", {"w": [1.0]}, ["w", "w"], losses, [2, 4], local=LR)
    assert plain.run_round()["w"].item() == pytest.approx(0.65, abs=1e-12)


@pytest.mark.parametrize(("steps", "weight"), [(3, 5.61), (5, 13.1441)])
def test_o25_work_with_momentum(steps: int, weight: float) -> None:
    run = SizedFederation(
        "heteronova", {"w": [1.0]}, ["w"], [slopes(w=1)], [steps], local={**LR, "optimizer.momentum": 0.9}
    )
    run.run_round()
    assert run.clients[0].step_weight_norm == pytest.approx(weight, abs=1e-12)


def test_o26_scaffold() -> None:
    values = {"a": [1.0], "b": [2.0]}
    losses = [slopes(a=0), slopes(a=1.0), slopes(a=0, b=0), slopes(a=1.0, b=2.0)]
    run = SizedFederation("heteroscaffold", values, ["a", "a", "ab", "ab"], losses, [1, 2, 1, 4], local=LR)
    model = run.run_round([1, 3])
    assert [model["a"].item(), model["b"].item()] == pytest.approx([0.7, 1.2], abs=1e-12)
    assert run.clients[1].state["control"]["a"].item() == pytest.approx(1, abs=1e-12)
    assert {n: v.item() for n, v in run.clients[3].state["control"].items()} == pytest.approx(
        {"a": 1, "b": 2}
    )
    control = run.strategy.control  # type: ignore[attr-defined]
    assert [control["a"].item(), control["b"].item()] == pytest.approx([0.5, 1.0], abs=1e-12)


@pytest.mark.parametrize(("weighting", "weights"), [("uniform", (1, 1, 1)), ("examples", (10, 20, 50))])
def test_m27_the_control_is_the_mean_over_the_owners(weighting: str, weights: tuple[int, ...]) -> None:
    run = federation("heteroscaffold", weighting=weighting)
    for cohort in ([0, 1], [2], [0, 1, 2], [1, 2]):
        run.run_round(cohort)
        for name, owners in (("w", [0, 1, 2]), ("v", [1, 2])):
            own = [weights[c] * run.clients[c].state["control"][name] for c in owners if run.clients[c].state]
            expected = torch.stack(own).sum(0) / sum(weights[c] for c in owners)
            torch.testing.assert_close(run.strategy.control[name], expected, rtol=0, atol=1e-12)  # type: ignore[attr-defined]


def test_with_one_size_scaffold_is_that_of_one_size() -> None:
    quadratics: list[tuple[float, float]] = [(1.0, 1.0), (2.0, -1.0), (1.0, 3.0)]
    plain = Federation("scaffold", quadratics, [2, 3, 4], start=[0.5], local=LR)
    losses = [quadratic(h, b) for h, b in quadratics]
    sized = SizedFederation("heteroscaffold", {"w": [0.5]}, ["w"] * 3, losses, [2, 3, 4], local=LR)
    for cohort in ([0, 1], [1, 2], [0, 2], [0, 1, 2]):
        assert sized.run_round(cohort)["w"].tolist() == pytest.approx(plain.round(cohort), abs=1e-12)


@pytest.mark.parametrize(("method", "parameters"), [("heteroprox", {"mu": 0.0}), ("heteromoon", {"mu": 0.0})])
def test_m25_without_their_term_they_are_heteroavg(method: str, parameters: dict[str, float]) -> None:
    other, plain = federation(method, **parameters), federation("heteroavg")
    for cohort in ([0, 1, 2], [0, 2]):
        expected = plain.run_round(cohort)
        assert all(torch.equal(value, expected[name]) for name, value in other.run_round(cohort).items())


def test_m25_first_round_of_scaffold_is_heteroavg() -> None:
    first, plain = federation("heteroscaffold").run_round(), federation("heteroavg").run_round()
    assert all(torch.equal(value, plain[name]) for name, value in first.items())


def test_m26_equal_work_makes_nova_heteroavg() -> None:
    nova, plain = federation("heteronova", (3, 3, 3)), federation("heteroavg", (3, 3, 3))
    for cohort in ([0, 1, 2], [1, 2]):
        expected = plain.run_round(cohort)
        for name, value in nova.run_round(cohort).items():
            assert value.item() == pytest.approx(expected[name].item(), abs=1e-12)


def test_m26_a_sole_holder_makes_nova_heteroavg_for_its_entry() -> None:
    nova, plain = federation("heteronova").run_round([0, 1]), federation("heteroavg").run_round([0, 1])
    assert nova["v"].item() == pytest.approx(plain["v"].item(), abs=1e-12)
    assert abs(nova["w"].item() - plain["w"].item()) > 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_m12_a_client_without_an_entry_has_no_say_in_it(method: str) -> None:
    with_it, without = federation(method).run_round([0, 1, 2]), federation(method).run_round([1, 2])
    assert torch.equal(with_it["v"], without["v"])
    assert not torch.equal(with_it["w"], without["w"])


@pytest.mark.parametrize("method", METHODS)
def test_m17_an_entry_without_holder_stays(method: str) -> None:
    run = federation(method)
    for _ in range(2):
        model = run.run_round([0])
        assert model["v"].tolist() == [4.0]
        assert model["w"].tolist() != [1.0]


def test_a_prox_term_pulls_to_the_received_part() -> None:
    values, lr = {"w": [1.0], "v": [4.0]}, {"optimizer.learning-rate": 1.0}
    run = SizedFederation("heteroprox", values, ["w"], [slopes(w=-0.5)], [2], local=lr, mu=0.1)
    # O27: at w = 1.5, W = 1 the extra gradient is .05; w: 1 -> 1.5 -> 1.5 + .5 - .05.
    assert run.run_round()["w"].item() == pytest.approx(1.95, abs=1e-12)


def test_prox_has_the_papers_mu() -> None:
    assert federation("heteroprox").clients[0].mu == 0.1  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", METHODS)
def test_parts_of_entries_are_averaged_element_by_element(method: str) -> None:
    losses = [slopes(w=-1), slopes(w=-3), slopes(w=-5)]
    run = SizedFederation(
        method,
        {"w": [0.0, 10.0, 20.0]},
        ["w1", "w2", "w1"],
        losses,
        [1, 1, 1],
        local={"optimizer.learning-rate": 1.0},
    )
    assert run.run_round()["w"].tolist() == pytest.approx([3.0, 13.0, 20.0], abs=1e-12)
    assert run.run_round([0])["w"].tolist()[1:] == pytest.approx([13.0, 20.0], abs=1e-12)


@pytest.mark.parametrize("method", ["heteroavg", "heteroprox"])
def test_m2_with_one_size_it_is_uniform_averaging(method: str) -> None:
    start, steps = [0.3, -0.7], [2, 5]
    quadratics: list[tuple[float, float]] = [(1.0, 1.0), (2.0, -1.0)]
    base = "fedavg" if method == "heteroavg" else "fedprox"
    extra = {} if method == "heteroavg" else {"mu": 0.1}
    plain = Federation(base, quadratics, steps, start=start, local=LR, weighting="uniform", **extra)
    losses = [quadratic(h, b) for h, b in quadratics]
    sized = SizedFederation(method, {"w": start}, ["w", "w"], losses, steps, local=LR)
    for _ in range(3):
        assert torch.equal(sized.run_round()["w"], plain.run_round()["w"])


def test_the_delta_divisor_is_a_learning_rate_of_the_server() -> None:
    plain, fifth = federation("heteroavg").run_round(), federation("heteroavg", delta_divisor=5.0).run_round()
    for name, start in (("w", 1.0), ("v", 4.0)):
        expected = start + (plain[name].item() - start) / 5
        assert fifth[name].item() == pytest.approx(expected, abs=1e-12)
