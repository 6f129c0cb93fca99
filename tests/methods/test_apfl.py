"""APFL in closed form, in float64, and its relations."""

import pytest
import torch

from clients.apfl import APFL
from clients.local.worker import Worker
from clients.local_only import LocalOnly
from common.records import Payload
from tests.clients.jobs import equal, global_model, small, train
from tests.methods.quadratics import LR, Federation, close


def own(federation: Federation, client: int = 0) -> tuple[float, float]:
    state = federation.clients[client].state
    return state["personal"]["w"].item(), state["mixing"]["alpha"].item()


def test_two_rounds() -> None:
    federation = Federation("apfl", [(1.0, 1.0)], [1], local=LR)
    assert federation.round() == close(0.1)
    assert own(federation) == pytest.approx((0.05, 0.5), abs=1e-12)  # v = w at first: alpha does not move
    assert federation.round() == close(0.19)
    assert own(federation) == pytest.approx((0.09625, 0.495375), abs=1e-12)


def test_alpha_moves_once_a_round() -> None:
    """The second step of a round is at the mixture by the new alpha, and alpha stays."""
    federation = Federation("apfl", [(1.0, 1.0)], [2], start=[0.0], local=LR)
    federation.round()
    v, w = 0.05 + 0.05 * (1 - 0.075), 0.19
    assert own(federation) == pytest.approx((v, 0.5), abs=1e-12)
    federation.round()
    alpha = 0.5 - 0.1 * (0.5 * v + 0.5 * w - 1) * (v - w)
    first = v - 0.05 * (0.5 * v + 0.5 * w - 1)
    w -= 0.1 * (w - 1)
    second = first - 0.1 * alpha * (alpha * first + (1 - alpha) * w - 1)
    assert own(federation) == pytest.approx((second, alpha), abs=1e-12)


def test_the_personal_optimum_is_reached_by_the_mixture() -> None:
    federation = Federation("apfl", [(1.0, 1.0), (1.0, -1.0)], [2, 2], local=LR, adaptive=False)
    for _ in range(300):
        (w,) = federation.round()
    assert w == pytest.approx(0.0, abs=1e-9)
    local = [0.5 * own(federation, client)[0] + 0.5 * w for client in (0, 1)]
    # With u = v / 2 the two steps of a round, at w = 0 and w = 0.1, cancel: (u - 1) + (0.975 u - 0.925) = 0.
    assert local == pytest.approx([1.925 / 1.975, -1.925 / 1.975], abs=1e-6)


def test_who_is_absent_keeps_what_it_has() -> None:
    federation = Federation("apfl", [(1.0, 1.0), (2.0, -1.0)], [1, 1], counts=[1, 9], local=LR)
    federation.round()
    before = own(federation)
    federation.round([1], corrections={1: 3.0})
    assert own(federation) == before


@pytest.mark.parametrize(("v", "w", "expected"), [(0.0, 50.0, 1.0), (100.0, 0.0, 0.0)])
def test_alpha_stays_within_its_limits(v: float, w: float, expected: float) -> None:
    """Q(1, 0): the one that is at 0 is right, and the slope of alpha is in the hundreds."""
    federation = Federation("apfl", [(1.0, 0.0)], [1], local=LR)
    federation.round()
    federation.clients[0].state["personal"] = {"w": torch.tensor([v], dtype=torch.float64)}
    federation.model["w"] = torch.tensor([w], dtype=torch.float64)
    federation.round()
    assert own(federation)[1] == expected


def test_the_global_model_is_fedavgs_and_alpha_zero_leaves_v() -> None:
    class NoMixture(APFL):
        alpha, adaptive = 0.0, False

    config = small(optimizer__momentum=0.9)
    worker, start = Worker(config), global_model(config)
    plain = train(worker, 0, start)
    for kind in (APFL, NoMixture):
        assert equal(train(worker, 0, start, client_class=kind).model, plain.model)
    kept = train(worker, 0, start, client_class=NoMixture).state["personal"]
    initial = {name: worker.initial_model[name] for name in kept}
    assert equal(kept, initial)


def test_a_mixture_of_v_alone_is_local_training_batch_norm_included(batch_norm_model: str) -> None:
    """The running statistics are those of the mixture, not of the global model, which is another one."""

    class Alone(APFL):
        alpha, adaptive = 1.0, False

    worker = Worker(small(model__name=batch_norm_model))
    mine: Payload = {}
    alone: Payload = {}
    for server_round, factor in ((1, 1), (2, 3)):
        start = {name: factor * value for name, value in worker.initial_model.items()}
        found = train(worker, 0, start, server_round, mine, Alone)
        mine, alone = found.state, train(worker, 0, {}, server_round, alone, LocalOnly).state
        assert set(mine["personal"]) == set(alone["kept-entries"])
        for name, value in alone["kept-entries"].items():
            torch.testing.assert_close(mine["personal"][name], value)
        own = found.client.personal_model()
        assert torch.equal(own["bn.running_mean"], mine["personal"]["bn.running_mean"])
        assert not torch.allclose(own["bn.running_mean"], found.model["bn.running_mean"]) or factor == 1
