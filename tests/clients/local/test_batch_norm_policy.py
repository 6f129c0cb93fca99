"""The running statistics of BatchNorm in local training, by ``batch-norm.policy``."""

import pytest

from clients.base import Client
from clients.local.worker import Worker
from clients.node.state_checks import keeps_state
from common.config import Config
from common.records import Tensors
from tests.clients.jobs import Result, equal, global_model, small, train


class TestBatchNormPolicy:
    class Watching(Client):
        """Notes the buffers with which a round's training starts."""

        def begin_round(self) -> None:
            self.before = {name: value.clone() for name, value in self.worker.buffers.items()}

    def rounds(self, config: Config) -> tuple[Tensors, Result, Result, Result]:
        worker, start = Worker(config), global_model(config)
        first = train(worker, 0, start, 1, client_class=self.Watching)
        other = train(worker, 1, start, 1, client_class=self.Watching)
        second = train(worker, 0, start, 2, state=first.state, client_class=self.Watching)
        return start, first, other, second

    @staticmethod
    def buffers(model: Tensors) -> Tensors:
        return {name: value for name, value in model.items() if name.startswith("bn.") and "_" in name}

    def test_local_buffers_stay_with_their_client(self, batch_norm_model: str) -> None:
        config = small(model__name=batch_norm_model, batch_norm__policy="local")
        start, first, other, second = self.rounds(config)
        assert equal(first.client.before, self.buffers(start))  # type: ignore[attr-defined]
        assert equal(other.client.before, self.buffers(start))  # type: ignore[attr-defined]
        assert equal(second.client.before, self.buffers(first.model))  # type: ignore[attr-defined]
        assert second.model["bn.num_batches_tracked"].item() == 10
        assert keeps_state(first.client)
        assert equal(first.state["kept-entries"], self.buffers(first.model))

    def test_what_is_kept_is_a_copy(self, batch_norm_model: str) -> None:
        config = small(model__name=batch_norm_model, batch_norm__policy="local")
        worker, start = Worker(config), global_model(config)
        first = train(worker, 0, start)
        kept = {name: value.clone() for name, value in first.state["kept-entries"].items()}
        train(worker, 1, start)
        assert equal(first.state["kept-entries"], kept)

    @pytest.mark.parametrize("policy", ["average", "recalibrate"])
    def test_otherwise_a_round_starts_with_those_of_the_server(
        self, batch_norm_model: str, policy: str
    ) -> None:
        config = small(model__name=batch_norm_model, batch_norm__policy=policy)
        start, first, _, second = self.rounds(config)
        assert equal(second.client.before, self.buffers(start))  # type: ignore[attr-defined]
        assert first.state == {}
        assert not keeps_state(first.client)

    def test_without_batch_norm_there_is_nothing_to_keep(self) -> None:
        result = train(Worker(small(batch_norm__policy="local")), 0, global_model(small()))
        assert result.state == {}
        assert not keeps_state(result.client)
