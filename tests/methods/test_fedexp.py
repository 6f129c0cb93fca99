"""FedExP in closed form, in float64."""

import pytest
import torch

from tests.methods.quadratics import LR, Federation, close

# One step with rate 0.1 on Q(1, b) from 0 ends at 0.1 b.
OPPOSED = [(1.0, (3.0, 4.0)), (1.0, (3.0, -4.0))]


def federation(**parameters: float) -> Federation:
    return Federation("fedexp", OPPOSED, [1, 1], start=(0.0, 0.0), local=LR, **parameters)


def test_the_step_goes_beyond_the_mean() -> None:
    """Changes (0.3, 0.4), (0.3, -0.4): mean square 0.25, squared mean 0.09; eta = 0.25 / 0.18."""
    run = federation(epsilon=0.0)
    assert run.round() == close(0.3 * 0.25 / 0.18, 0.0)
    assert run.strategy.columns(1)["server_learning_rate"] == pytest.approx(0.25 / 0.18)


def test_epsilon_damps_it() -> None:
    assert federation(epsilon=0.01).round() == close(0.3 * 0.25 / 0.2, 0.0)
    assert federation(epsilon=1.0).round() == close(0.3, 0.0)  # never shorter than FedAvg's


def test_clients_weigh_as_their_examples() -> None:
    """Changes 0.1 and -0.2 with weights 3/4 and 1/4: mean 0.025, mean square 0.0175."""
    run = Federation("fedexp", [(1.0, 1.0), (1.0, -2.0)], [1, 1], counts=[3, 1], local=LR, epsilon=0.0)
    assert run.round() == close(0.025 * 0.0175 / (2 * 0.025**2))


def test_where_clients_agree_it_is_fedavg() -> None:
    agreed = [(1.0, 1.0), (1.0, 1.0)]
    run = Federation("fedexp", agreed, [2, 2], local=LR, epsilon=0.0)
    assert run.round() == Federation("fedavg", agreed, [2, 2], local=LR).round()


@pytest.mark.parametrize("epsilon", [0.0, 0.001])
def test_it_stays_where_nothing_changes(epsilon: float) -> None:
    run = Federation("fedexp", [(0.0, 0.0)], [1], start=[1.0], local=LR, epsilon=epsilon)
    assert run.round() == [1.0]


def test_the_mean_of_the_last_two_models_is_evaluated_as_well() -> None:
    run = federation()
    assert run.strategy.variants(run.model) == {}
    first = run.run_round()["w"]
    second = run.run_round()["w"]
    assert torch.equal(run.strategy.variants(run.model)["averaged"]["w"], (first + second) / 2)
    assert federation(evaluate_mean=False).strategy.variants(run.model) == {}
