"""HeteroScaffold in closed form, in float64."""

import pytest
import torch

from tests.methods.quadratics import LR, Federation, quadratic
from tests.methods.sized import SizedFederation, SizedRelations, slopes, three_clients


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
    run = three_clients("heteroscaffold", weighting=weighting)
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


def test_m25_first_round_of_scaffold_is_heteroavg() -> None:
    first, plain = three_clients("heteroscaffold").run_round(), three_clients("heteroavg").run_round()
    assert all(torch.equal(value, plain[name]) for name, value in first.items())


class TestRelations(SizedRelations):
    METHOD = "heteroscaffold"
