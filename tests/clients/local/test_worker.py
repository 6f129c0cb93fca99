"""What a worker's model has and what of it travels."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord

from clients.base import Client
from clients.local.worker import Worker, get_worker
from common.errors import UserError
from common.records import SERVER_ROUND, Tensors
from models import architectures
from tests.clients.jobs import equal, global_model, small
from tests.conftest import Runner, small_config

WITH_TABLE = """
import math
import torch
from models.architectures.linear import LinearModel

class WithTable(LinearModel):
    def __init__(self, input_shape, num_classes):
        super().__init__(math.prod(input_shape), num_classes)
        self.register_buffer("table", torch.ones(3), persistent=False)
        self.register_buffer("index", torch.arange(3))

def build(input_shape, num_classes):
    return WithTable(input_shape, num_classes)
"""


@pytest.fixture
def model_with_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "with_table.py").write_text(WITH_TABLE)
    monkeypatch.setattr(architectures, "__path__", [*architectures.__path__, str(tmp_path)])
    yield "with-table"
    sys.modules.pop("models.architectures.with_table", None)


def test_tables_that_a_model_does_not_save_do_not_travel(model_with_table: str, run_small: Runner) -> None:
    assert list(Worker(small_config(model__name=model_with_table)).buffers) == ["index"]
    run_small(model__name=model_with_table, rounds=1)


class TestWorker:
    def test_clients_share_the_training_set_without_overlap(self) -> None:
        worker = Worker(small())
        parts = [worker.client_indices(client_id) for client_id in range(6)]
        together = np.concatenate(parts)
        assert len(np.unique(together)) == len(together) == len(worker.train)
        counts = sum(Client(worker, client_id).label_counts() for client_id in range(6))
        assert torch.equal(
            torch.as_tensor(counts), torch.bincount(worker.dataset.train.targets, minlength=10)
        )

    def test_a_node_with_its_own_data_holds_all_of_them(self) -> None:
        worker = Worker(small(partition__name="node"))
        assert worker.client_indices(3).tolist() == list(range(len(worker.train)))

    def test_loading_copies(self) -> None:
        worker = Worker(small())
        value = torch.full_like(worker.model_state["fc1.bias"], 2.0)
        tensor = worker.model_state["fc1.bias"]
        worker.load({"fc1.bias": value})
        assert worker.model_state["fc1.bias"] is tensor
        value.zero_()
        assert tensor.unique().tolist() == [2.0]

    @pytest.mark.parametrize("section", [{"nothing": torch.zeros(1)}, {"fc1.bias": torch.zeros(1)}])
    def test_what_does_not_fit_is_refused(self, section: Tensors) -> None:
        with pytest.raises(ValueError, match=f"'{next(iter(section))}' of shape .* does not fit model 'mlp'"):
            Worker(small()).load(section)

    @pytest.mark.parametrize(("old", "new"), [("state", "model_state"), ("initial_state", "initial_model")])
    def test_a_former_name_is_answered_with_the_present_one(self, old: str, new: str) -> None:
        worker = Worker(small_config())
        with pytest.raises(UserError, match=rf"worker\.{old} is now worker\.{new}$"):
            getattr(worker, old)
        assert getattr(worker, new).keys() == worker.model.state_dict().keys()

    def test_a_process_has_one_worker_per_configuration(self) -> None:
        first = get_worker(small())
        assert get_worker(small()) is first
        assert get_worker(small(seed=1)) is not first

    def test_the_initial_model_depends_on_the_seed_alone(self) -> None:
        assert equal(global_model(small()), global_model(small()))
        assert not equal(global_model(small()), global_model(small(seed=1)))

    def test_it_knows_what_it_holds_until_it_is_loaded_or_trained(self) -> None:
        worker = Worker(small())
        section = {name: value.detach().clone() for name, value in worker.model_state.items()}
        assert not worker.holds(section)
        worker.load(section)
        assert worker.holds(section)
        assert not worker.holds(dict(section))
        worker.load({"fc1.bias": section["fc1.bias"] + 1})
        assert not worker.holds(section)
        worker.load(section)
        worker.mark_trained()
        assert not worker.holds(section)

    def test_copies_are_made_again_when_the_model_has_changed(self) -> None:
        worker = Worker(small())
        first = worker.snapshot()
        assert worker.snapshot() is first
        with torch.no_grad():
            worker.model_state["fc1.bias"].add_(1)
        second = worker.snapshot()
        assert torch.equal(second["fc1.bias"], first["fc1.bias"] + 1)
        Client(worker, 0).train({"arrays": global_model(small())}, ConfigRecord({SERVER_ROUND: 1}))
        assert torch.equal(worker.snapshot()["fc1.bias"], worker.model_state["fc1.bias"])
        assert not torch.equal(worker.snapshot()["fc1.bias"], second["fc1.bias"])
