"""FedALA in closed form, in float64: a head a on a body b, loss (a b - y)^2 / 2."""

import math

import pytest
import torch

from clients.fedala import FedALA
from clients.local.batches import Batch
from clients.local.worker import Worker
from common.errors import UserError
from common.records import Tensors
from tests.clients.jobs import equal, global_model, small, train
from tests.methods.federation import LossFederation
from tests.methods.personal import bodies, product_federation
from tests.methods.quadratics import close


def weights(federation: LossFederation) -> list[float]:
    return [client.state["weights"]["classifier.a"].item() for client in federation.clients]


def sent_heads(federation: LossFederation) -> list[float]:
    return [federation.replies[client]["classifier.a"].item() for client in (0, 1)]


def test_three_rounds() -> None:
    federation = product_federation("fedala", 1, window=1)
    model = federation.run_round()
    assert sent_heads(federation) == close(0.65, 0.35)  # the first round is FedAvg's
    assert "weights" not in federation.clients[0].state
    assert (model["classifier.a"].item(), model["body.b"].item()) == pytest.approx((0.5, 1.0))
    federation.run_round()
    # By hand for y = 2: two passes, W = 1, 0.775, 0.5550625; then a step at a = 0.566740625, b = 1.
    assert weights(federation)[0] == pytest.approx(0.5550625, abs=1e-12)
    a = 0.566740625
    assert sent_heads(federation)[0] == pytest.approx(a + 0.1 * (2 - a), abs=1e-12)
    assert bodies(federation)[0] == pytest.approx(1 + 0.1 * a * (2 - a), abs=1e-12)
    before, previous, model = weights(federation)[0], sent_heads(federation)[0], federation.model
    change = model["classifier.a"].item() - previous
    mixture = previous + change * before
    residual = mixture * model["body.b"].item() - 2
    federation.run_round()
    # Later rounds have one pass.
    expected = before - residual * model["body.b"].item() * change
    assert weights(federation)[0] == pytest.approx(min(max(expected, 0.0), 1.0), abs=1e-12)


def test_the_first_adaptation_ends_when_the_loss_has_settled() -> None:
    """W falls to 0 in a few passes, where the client has its own head again; ten losses are looked at."""
    federation = product_federation("fedala", 1)
    federation.run_round()
    federation.run_round([0])
    assert weights_of(federation, 0) == 0.0
    assert "weights" not in federation.clients[1].state


def test_the_first_adaptation_looks_at_one_loss_of_each_pass() -> None:
    """Three passes for a window of two, however many mini-batches a pass has, and one later on."""
    config = small()
    worker, start = Worker(config), global_model(config)
    steps: list[float] = []

    class Counted(FedALA):
        window = 2
        threshold = float("inf")

        def _step(self, weights: Tensors, batch: Batch) -> tuple[Tensors, float]:
            found = super()._step(weights, batch)
            steps.append(found[1])
            return found

    first = train(worker, 0, start, client_class=Counted)
    second = train(worker, 0, train(worker, 1, start).model, 2, first.state, client_class=Counted)
    per_pass = math.ceil(0.8 * config.local.steps_per_pass(len(worker.client_indices(0))))
    assert per_pass > 2
    assert len(steps) == 3 * per_pass
    train(worker, 0, start, 3, second.state, client_class=Counted)
    assert len(steps) == 4 * per_pass


def test_the_first_adaptation_passes_over_one_draw_of_mini_batches() -> None:
    """So the losses at the ends of passes are of one mini-batch, and settle: here in the fewest passes."""
    config = small()
    worker, start = Worker(config), global_model(config)
    seen: list[list[int]] = []

    class Recording(FedALA):
        def _step(self, weights: Tensors, batch: Batch) -> tuple[Tensors, float]:
            seen.append(batch.indices.tolist())
            return super()._step(weights, batch)

    first = train(worker, 0, start, client_class=Recording)
    second = train(worker, 0, train(worker, 1, start).model, 2, first.state, client_class=Recording)
    per_pass = math.ceil(0.8 * config.local.steps_per_pass(len(worker.client_indices(0))))
    passes = [seen[begin : begin + per_pass] for begin in range(0, len(seen), per_pass)]
    assert passes == [passes[0]] * (Recording.window + 1)
    assert len({index for batch in passes[0] for index in batch}) == sum(map(len, passes[0]))
    seen.clear()
    train(worker, 0, start, 3, second.state, client_class=Recording)
    assert len(seen) == per_pass
    assert seen != passes[0]


def weights_of(federation: LossFederation, client: int) -> float:
    return float(federation.clients[client].state["weights"]["classifier.a"])


def test_the_client_predicts_with_the_mixture() -> None:
    federation = product_federation("fedala", 1, window=1)
    client = federation.clients[0]
    for _ in range(2):
        federation.run_round()
    client.received = {"arrays": federation.model}
    own = client.state["previous"]["classifier.a"]
    expected = own + (federation.model["classifier.a"] - own) * client.state["weights"]["classifier.a"]
    assert client.personal_model() == {"classifier.a": expected}


def test_the_first_round_is_fedavg_and_weights_stay_within_0_and_1() -> None:
    config = small()
    worker, start = Worker(config), global_model(config)
    first = train(worker, 0, start, client_class=FedALA)
    assert equal(first.model, train(worker, 0, start).model)
    other = train(worker, 1, start).model
    second = train(worker, 0, other, 2, first.state, client_class=FedALA)
    learnt = second.state["weights"]
    assert set(learnt) == {"classifier.weight", "classifier.bias"}
    values = torch.cat([value.flatten() for value in learnt.values()])
    assert values.min() >= 0
    assert values.max() <= 1
    assert values.unique().numel() > 2


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(UserError, match="the model has no part 'hed'"):
        FedALA(Worker(small()), 0, {}, {"adapted_part": "hed"}).validate()
