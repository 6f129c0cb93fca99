"""FedRep in closed form, in float64, and its budget of steps."""

import pytest
import torch
from flwr.app import ConfigRecord

from clients.fedalt import FedAlt
from clients.fedrep import FedRep
from clients.local.worker import Worker
from common.errors import UserError
from common.records import Tensors
from tests.clients.jobs import global_model, small
from tests.methods.personal import check_head_then_body, heads, product_federation


def test_fedrep_without_head_steps_is_fedavg_on_the_body() -> None:
    federation = product_federation("fedrep", 2, personal_share=0.0)
    babu = product_federation("fedbabu", 2)
    for _ in range(3):
        assert federation.run_round()["body.b"].item() == pytest.approx(
            babu.run_round()["body.b"].item(), abs=1e-15
        )
    assert heads(federation) == [0.5, 0.5]
    assert babu.model["classifier.a"].item() == 0.5


@pytest.mark.parametrize(
    ("share", "steps", "expected"), [(0.1, 4, 1), (0.9, 4, 3), (0.5, 5, 2), (1.0, 4, 4), (0.5, 1, 0)]
)
def test_both_parts_get_a_step(share: float, steps: int, expected: int) -> None:
    federation = product_federation("fedrep", steps, personal_share=share)
    federation.run_round()
    assert federation.clients[0].personal_steps == expected  # type: ignore[attr-defined]


FEDREPS = {"fedrep": FedRep, "fedalt": FedAlt}


class TestFedRepWithFewSteps:
    @pytest.mark.parametrize("method", ["fedrep", "fedalt"])
    def test_one_step_for_two_parts_is_refused(self, method: str) -> None:
        config = small(method__name=method, local__steps=1, local__epochs=0)
        client = FEDREPS[method](Worker(config), 0, {}, {"personal_share": 0.5})
        with pytest.raises(UserError, match=r"set local\.steps = 2 or more"):
            client.validate()
        for share in (0.0, 1.0):
            FEDREPS[method](Worker(config), 0, {}, {"personal_share": share}).validate()

    def test_a_client_that_makes_but_one_step_trains_both_parts(self) -> None:
        config = small(local__batch_size=10_000, local__epochs=1, local__steps=0)
        worker, start = Worker(config), global_model(config)
        state: dict[str, Tensors] = {}
        client = FedRep(worker, 0, state, {"personal_share": 0.5})
        sections, metrics = client.train({"arrays": start}, ConfigRecord({"server-round": 1}))
        assert metrics["num-steps"] == 1
        changed = {name for name, value in worker.model_state.items() if not torch.equal(value, start[name])}
        assert changed == set(client.params)
        assert not set(sections["arrays"]) & set(client.personal_names())


def test_head_then_body() -> None:
    check_head_then_body("fedrep")
