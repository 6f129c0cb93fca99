"""pFedMe in closed form, in float64."""

from contextlib import nullcontext

import pytest

from clients.local.worker import Worker
from clients.pfedme import PFedMe
from common.errors import UserError
from tests.clients.jobs import small
from tests.methods.quadratics import Federation, close

LOCAL = {"optimizer.learning-rate": 0.25}
KEYS = {"lam": 2.0, "personal_steps": 2, "personal_learning_rate": 0.1}


def test_one_step() -> None:
    federation = Federation("pfedme", [(2.0, 1.0)], [1], local=LOCAL, **KEYS)
    assert federation.round() == close(0.16)
    assert federation.clients[0].state["personal"]["w"].tolist() == close(0.32)
    # theta makes the steps 0.16, 0.328, 0.4288, and w half of the way to it.
    assert federation.round() == close(0.2944)
    assert federation.clients[0].state["personal"]["w"].tolist() == close(0.4288)


def test_many_personal_steps_find_the_moreau_envelope() -> None:
    """theta = (h b + lam w) / (h + lam)."""
    keys = {**KEYS, "personal_steps": 200}
    federation = Federation("pfedme", [(2.0, 1.0)], [1], local=LOCAL, **keys)
    assert federation.round() == close(0.25)
    assert federation.clients[0].state["personal"]["w"].tolist() == close(0.5)


def test_weight_decay_is_part_of_the_loss() -> None:
    """The envelope of h/2 (t - b)^2 + d/2 t^2 at w has theta = (h b + lam w) / (h + lam + d)."""
    local = {**LOCAL, "optimizer.weight-decay": 1.0}
    federation = Federation(
        "pfedme", [(2.0, 1.0)], [1], (4.0,), local=local, **KEYS | {"personal_steps": 200}
    )
    assert federation.round() == close(3.0)
    assert federation.clients[0].state["personal"]["w"].tolist() == close(2.0)
    # Two steps of 0.1 from 4: 4 - 0.1 (6 + 4) = 3, 3 - 0.1 (4 + 3 - 2) = 2.5; w moves half of the way.
    federation = Federation("pfedme", [(2.0, 1.0)], [1], (4.0,), local=local, **KEYS)
    assert federation.round() == close(3.25)
    # Momentum is that of lam (w - theta) alone: 3, then 0.5 * 3 + 2 (3.25 - theta), theta from 3.25.
    moving = {**local, "optimizer.momentum": 0.5}
    federation = Federation("pfedme", [(2.0, 1.0)], [2], (4.0,), local=moving, **KEYS)
    theta = 3.25 - 0.1 * (2 * 2.25 + 3.25)
    theta -= 0.1 * (2 * (theta - 1) + theta + 2 * (theta - 3.25))
    assert federation.round() == close(3.25 - 0.25 * (0.5 * 3 + 2 * (3.25 - theta)))


def test_decay_that_is_no_part_of_a_loss_is_refused() -> None:
    for optimizer, decay, is_refused in (("adamw", 0.1, True), ("adamw", 0.0, False), ("sgd", 0.1, False)):
        client = PFedMe(Worker(small(optimizer__name=optimizer, optimizer__weight_decay=decay)), 0)
        with pytest.raises(UserError, match="pfedme's weight decay") if is_refused else nullcontext():
            client.validate()


def test_beta_weighs_the_mean_change() -> None:
    for beta, expected in ((0.5, 0.08), (1.0, 0.16), (2.0, 0.32)):
        assert Federation("pfedme", [(2.0, 1.0)], [1], local=LOCAL, beta=beta, **KEYS).round() == close(
            expected
        )


def test_the_mean_is_uniform_and_absent_clients_keep_theta() -> None:
    federation = Federation("pfedme", [(2.0, 1.0), (2.0, -1.0)], [1, 1], counts=[1, 9], local=LOCAL, **KEYS)
    assert federation.round() == close(0.0)
    assert federation.round([0]) == close(0.16)
    assert federation.clients[1].state["personal"]["w"].tolist() == close(-0.32)
    assert federation.round([0, 1], {0: 3.0, 1: 1.0})[0] > 0


@pytest.mark.parametrize("key", ["optimizer.learning-rate", "method.personal-learning-rate"])
def test_steps_that_would_diverge_are_refused(key: str) -> None:
    config = small(optimizer__learning_rate=0.2 if key.startswith("opt") else 0.01)
    rate = 0.01 if key.startswith("opt") else 0.2
    with pytest.raises(UserError, match=f"pfedme needs {key}"):
        PFedMe(Worker(config), 0, {}, {"lam": 10.0, "personal_learning_rate": rate}).validate()
