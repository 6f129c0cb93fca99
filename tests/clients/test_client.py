from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp

import clients.local.evaluation
from clients.app import app
from clients.base import Client
from clients.local.worker import Worker, get_worker
from common.errors import CLIENT_FAILED, CLIENT_MISCONFIGURED
from common.flower import assume_task_identity
from common.records import Tensors, to_record, to_tensors
from common.sections import Value
from datasets.configured import open_dataset
from datasets.partition_scheme import partition_clients
from runtimes.sequential import make_context
from tests.clients.jobs import equal, global_model, small, train

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


class TestTest:
    """A model that always answers the same: frequencies times constants."""

    BIAS = torch.tensor([0.0, 1.0, -1.0, 0.5, 2.0, -2.0, 0.25, 0.75, -0.5, 1.5])

    def constant_model(self, bias: torch.Tensor) -> Tensors:
        model = global_model(small(model__name="linear"))
        return {"classifier.weight": torch.zeros_like(model["classifier.weight"]), "classifier.bias": bias}

    @pytest.mark.parametrize("client_id", range(3))
    def test_classes_are_weighted_by_the_clients_own_frequencies(self, client_id: int) -> None:
        config = small(model__name="linear", partition__alpha=0.2, evaluate__batch_size=50)
        dataset = open_dataset(config)
        indices = partition_clients(config, dataset)[client_id]
        counts = np.bincount(dataset.train.targets.numpy()[indices], minlength=10)
        frequencies = counts / counts.sum()
        log_probabilities = torch.log_softmax(self.BIAS.double(), dim=0).numpy()

        metrics = Client(Worker(config), client_id).test({"arrays": self.constant_model(self.BIAS)}, ROUND)
        assert metrics["num-examples"] == len(indices)
        assert metrics["accuracy"] == pytest.approx(frequencies[4], abs=1e-9)
        assert metrics["loss"] == pytest.approx(-(frequencies * log_probabilities).sum(), rel=1e-6)

    def test_one_pass_over_the_test_set_serves_all_clients(self, monkeypatch: pytest.MonkeyPatch) -> None:
        passes: list[int] = []
        evaluate = clients.local.evaluation.evaluate

        def counting(*arguments: Any, **options: Any) -> Any:
            passes.append(1)
            return evaluate(*arguments, **options)

        monkeypatch.setattr(clients.local.evaluation, "evaluate", counting)
        worker, model = Worker(small()), global_model(small())
        together = [Client(worker, client_id).test({"arrays": model}, ROUND) for client_id in range(6)]
        assert len(passes) == 1
        alone = [Client(Worker(small()), client_id).test({"arrays": model}, ROUND) for client_id in range(6)]
        assert together == alone
        other = {name: value.clone() + 0.1 for name, value in model.items()}
        assert Client(worker, 0).test({"arrays": other}, ROUND) != together[0]
        assert Client(worker, 0).test({"arrays": model}, ROUND) == together[0]

    def test_the_training_flag_comes_back(self) -> None:
        worker = Worker(small())
        for training in (True, False):
            worker.model.train(training)
            Client(worker, 0).test({"arrays": global_model(small())}, ROUND)
            assert worker.model.training is training

    def test_a_personal_model_is_evaluated_and_does_not_stay(self) -> None:
        worker = Worker(small(model__name="linear"))
        counts = Client(worker, 0).label_counts()
        favourite = int(counts.argmax())
        assert favourite != int(self.BIAS.argmax())
        one_hot = torch.nn.functional.one_hot(torch.tensor(favourite), 10).float() * 50

        class Personal(Client):
            def personal_model(self) -> Tensors:
                return {"classifier.bias": one_hot}

        received = {"arrays": self.constant_model(self.BIAS)}
        shared = Client(worker, 0).test(received, ROUND)
        personal = Personal(worker, 0).test(received, ROUND)
        expected = float(counts[favourite] / counts.sum())
        assert personal["personal_accuracy"] == pytest.approx(expected, abs=1e-6)
        assert personal["accuracy"] == shared["accuracy"] != personal["personal_accuracy"]
        assert "personal_accuracy" not in shared
        assert Client(worker, 0).test(received, ROUND) == shared

    def test_evaluating_does_not_change_buffers(self, batch_norm_model: str) -> None:
        config = small(model__name=batch_norm_model)
        worker, model = Worker(config), global_model(config)
        Client(worker, 0).test({"arrays": model}, ROUND)
        assert equal({name: value.detach() for name, value in worker.state.items()}, model)


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
        value = torch.full_like(worker.state["fc1.bias"], 2.0)
        tensor = worker.state["fc1.bias"]
        worker.load({"fc1.bias": value})
        assert worker.state["fc1.bias"] is tensor
        value.zero_()
        assert tensor.unique().tolist() == [2.0]

    @pytest.mark.parametrize("section", [{"nothing": torch.zeros(1)}, {"fc1.bias": torch.zeros(1)}])
    def test_what_does_not_fit_is_refused(self, section: Tensors) -> None:
        with pytest.raises(ValueError, match=f"'{next(iter(section))}' of shape .* does not fit model 'mlp'"):
            Worker(small()).load(section)

    def test_a_process_has_one_worker_per_configuration(self) -> None:
        first = get_worker(small())
        assert get_worker(small()) is first
        assert get_worker(small(seed=1)) is not first

    def test_the_initial_model_depends_on_the_seed_alone(self) -> None:
        assert equal(global_model(small()), global_model(small()))
        assert not equal(global_model(small()), global_model(small(seed=1)))


class TestApp:
    CONFIG = small(local__steps=2)

    def ask(
        self, job: str, content: RecordDict, client_id: int = 0, context: Context | None = None
    ) -> Message:
        assert isinstance(app, ClientApp)
        assume_task_identity()
        context = context or make_context(client_id, 6, self.CONFIG.flat(), client_id + 2)
        return app(Message(content, dst_node_id=client_id + 2, message_type=job), context)

    def content(self) -> RecordDict:
        return RecordDict({"arrays": to_record(global_model(self.CONFIG)), "config": ROUND})

    def test_train_returns_what_the_client_returns(self) -> None:
        reply = self.ask("train", self.content(), 2)
        expected = train(Worker(self.CONFIG), 2, global_model(self.CONFIG))
        assert equal(to_tensors(reply.content.array_records["arrays"]), expected.model)
        metrics = reply.content.metric_records["metrics"]
        assert metrics["num-steps"] == 2
        assert metrics["num-examples"] == expected.metrics["num-examples"]

    def test_a_reply_outlives_the_next_job_on_the_worker(self) -> None:
        reply = self.ask("train", self.content(), 2)
        before = {name: bytes(bytearray(a.data)) for name, a in reply.content.array_records["arrays"].items()}
        self.ask("train", self.content(), 3)
        assert {name: a.data for name, a in reply.content.array_records["arrays"].items()} == before

    def test_describe(self) -> None:
        reply = self.ask("query.describe", RecordDict({"config": ConfigRecord()}), 5)
        metrics = reply.content.metric_records["metrics"]
        assert metrics["client-id"] == 5
        assert metrics["keeps-state"] == 0
        assert metrics["label-counts"] == Client(Worker(self.CONFIG), 5).label_counts().tolist()

    def test_state_is_handed_out_and_taken_back(self) -> None:
        context = make_context(0, 6, self.CONFIG.flat(), 2)
        state = RecordDict({"kept": to_record({"n": torch.tensor([1, 2])})})
        self.ask("query.set_state", state, context=context)
        reply = self.ask("query.get_state", RecordDict({"config": ConfigRecord()}), context=context)
        assert list(reply.content) == ["kept"]
        assert to_tensors(reply.content.array_records["kept"])["n"].tolist() == [1, 2]
        self.ask("query.set_state", RecordDict(), context=context)
        reply = self.ask("query.get_state", RecordDict({"config": ConfigRecord()}), context=context)
        assert len(reply.content) == 0

    def test_state_that_is_not_finite_is_a_failure_and_the_earlier_one_stays(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        value = torch.tensor([1.0])

        def end_round(client: Client, params: Tensors) -> dict[str, Tensors]:
            client.state["head"] = {"weight": value.clone()}
            return {}

        monkeypatch.setattr(Client, "KEEPS", ("head",))
        monkeypatch.setattr(Client, "end_round", end_round)
        context = make_context(0, 6, self.CONFIG.flat(), 2)
        assert not self.ask("train", self.content(), context=context).has_error()
        value.fill_(torch.inf)
        reply = self.ask("train", self.content(), context=context)
        assert "the client's state 'head' is no longer finite in 'weight'" in str(reply.error.reason)
        assert to_tensors(context.state.array_records["head"])["weight"].tolist() == [1.0]

    def test_state_that_a_method_does_not_say_that_it_keeps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def end_round(client: Client, params: Tensors) -> dict[str, Tensors]:
            client.state["head-2"] = {"weight": torch.zeros(1)}
            return {}

        monkeypatch.setattr(Client, "end_round", end_round)
        reply = self.ask("train", self.content())
        assert reply.error.code == CLIENT_MISCONFIGURED
        assert "keeps the state 'head-2' without declaring it: name it in KEEPS" in str(reply.error.reason)
        monkeypatch.setattr(Client, "KEEPS", ("head-*",))
        assert not self.ask("train", self.content()).has_error()

    def test_an_exception_is_an_error_reply_with_its_traceback(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(client: Client) -> None:
            raise ArithmeticError("planted")

        monkeypatch.setattr(Client, "begin_round", fail)
        reply = self.ask("train", self.content())
        assert reply.has_error()
        assert reply.error.code == CLIENT_FAILED
        assert "Traceback" in str(reply.error.reason)
        assert "ArithmeticError: planted" in str(reply.error.reason)

    @pytest.mark.parametrize(
        ("node_config", "message"),
        [({"partition-id": 6}, "partition-id 6, but clients.count is 6"), ({}, "no partition id")],
    )
    def test_a_misconfigured_node_says_so_in_one_line(
        self, node_config: dict[str, Value], message: str
    ) -> None:
        context = make_context(0, 6, self.CONFIG.flat(), 2)
        context.node_config = node_config  # type: ignore[assignment]
        reply = self.ask("train", self.content(), context=context)
        assert reply.error.code == CLIENT_MISCONFIGURED
        assert message in str(reply.error.reason)
        assert "Traceback" not in str(reply.error.reason)
