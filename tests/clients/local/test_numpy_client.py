import numpy as np
import pytest
from flwr.app import ConfigRecord
from flwr.client import NumPyClient

from clients.base import Client
from clients.local.worker import Worker
from tests.clients.jobs import global_model, small, train

ROUND = ConfigRecord({"server-round": 1})


class TestFlowersInterface:
    def test_fit_is_the_same_round_with_the_model_as_a_list(self, batch_norm_model: str) -> None:
        config = small(model__name=batch_norm_model, optimizer__momentum=0.9)
        start = global_model(config)
        expected = train(Worker(config), 1, start, server_round=3)
        client = Client(Worker(config), 1)
        assert isinstance(client, NumPyClient)
        parameters = [value.numpy().copy() for value in start.values()]
        sent = [value.copy() for value in parameters]
        result, num_examples, metrics = client.fit(parameters, {"server-round": 3})
        assert num_examples == expected.metrics["num-examples"] == client.num_examples
        assert metrics["train_loss"] == expected.metrics["train_loss"]
        for array, value in zip(result, expected.model.values(), strict=True):
            assert array.dtype == value.numpy().dtype
            assert array.tobytes() == value.numpy().tobytes()
        for given, before in zip(parameters, sent, strict=True):
            assert np.array_equal(given, before)

    def test_what_fit_returns_outlives_the_next_job(self) -> None:
        config = small()
        client = Client(Worker(config), 0)
        parameters = client.get_parameters({})
        result, _, _ = client.fit(parameters, {"server-round": 1})
        copies = [array.copy() for array in result]
        client.fit(parameters, {"server-round": 2})
        assert all(np.array_equal(array, copy) for array, copy in zip(result, copies, strict=True))

    def test_evaluate_is_test(self) -> None:
        config = small()
        client = Client(Worker(config), 0)
        parameters = client.get_parameters({})
        expected = client.test({"arrays": global_model(config)}, ROUND)
        loss, num_examples, metrics = client.evaluate(parameters, {"server-round": 1})
        assert (loss, num_examples) == (expected["loss"], client.num_examples)
        assert metrics["accuracy"] == expected["accuracy"]

    def test_a_list_of_another_length_is_refused(self) -> None:
        client = Client(Worker(small()), 0)
        with pytest.raises(ValueError, match="zip"):
            client.fit(client.get_parameters({})[:-1], {"server-round": 1})
