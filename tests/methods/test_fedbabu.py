"""FedBABU: the head stays as it was."""

from tests.methods.federation import LossFederation
from tests.methods.personal import Product, target
from tests.methods.quadratics import LR


def test_momentum_and_decay_do_not_move_what_is_frozen() -> None:
    local = {**LR, "optimizer.momentum": 0.9, "optimizer.weight-decay": 0.5}
    federation = LossFederation("fedbabu", [target(2.0)], [4], Product, local=local)
    federation.run_round()
    assert federation.model["classifier.a"].item() == 0.5
    assert all(value.requires_grad for value in federation.clients[0].worker.parameters.values())
