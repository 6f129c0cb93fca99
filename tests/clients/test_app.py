"""The ClientApp: what a node answers and keeps, and a node with data of its own."""

from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from PIL import Image

from clients.app import app
from clients.base import Client
from clients.fedper import FedPer
from clients.local.worker import Worker
from clients.node.description import run_describe
from common.config import Config
from common.config_values import merge
from common.errors import CLIENT_FAILED, CLIENT_FORGOT, CLIENT_MISCONFIGURED
from common.flower import RUN_ID, assume_task_identity
from common.records import CONFIG, METRICS, Tensors, to_record, to_tensors
from common.sections import Value
from runtimes.sequential import make_context
from tests.clients.jobs import equal, global_model, small, train

ROUND = ConfigRecord({"server-round": 1})


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
        config = small(method__name="fedper")
        context = make_context(0, 6, config.flat(), 2)
        worker = Worker(config)
        kept = {name: worker.model_state[name] + 1 for name in FedPer(worker, 2).personal_names()}
        state = RecordDict({"kept-entries": to_record(kept)})
        self.ask("query.set_state", state, context=context)
        reply = self.ask("query.get_state", RecordDict({"config": ConfigRecord()}), context=context)
        assert list(reply.content) == ["kept-entries"]
        assert to_tensors(reply.content.array_records["kept-entries"]).keys() == kept.keys() > set()
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

        monkeypatch.setattr(Client, "state_form", lambda self: {"head": {"weight": value}})
        monkeypatch.setattr(Client, "end_round", end_round)
        context = make_context(0, 6, self.CONFIG.flat(), 2)
        context.state = RecordDict()  # as of a node that was started again
        context.run_id = RUN_ID + 1  # a node that Flower has started, and the server has not met
        assert self.ask("train", self.content(), context=context).error.code == CLIENT_FORGOT
        self.ask("query.describe", RecordDict({"config": ConfigRecord()}), context=context)
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
        assert "keeps the state 'head-2' without declaring it: return it from init_state" in str(
            reply.error.reason
        )
        monkeypatch.setattr(Client, "state_form", lambda self: {"head-*": {"weight": torch.zeros(1)}})
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

    def test_a_node_without_a_plugin_folder_says_which(self, tmp_path: Path) -> None:
        folder = tmp_path / "mine"
        values = {**self.CONFIG.flat(), "plugins": str(folder), "model.name": "my-net"}
        context = make_context(0, 6, values, 2)
        reply = self.ask("train", self.content(), context=context)
        assert reply.error.code == CLIENT_MISCONFIGURED
        reason = str(reply.error.reason)
        assert "model.name: there is no 'my-net'" in reason
        assert (
            f"the node with partition-id 0, which looks for plug-ins in {folder} (which is not there)"
            in reason
        )
        assert "Traceback" not in reason

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

    @pytest.mark.parametrize("run_id", [RUN_ID, 5])
    def test_what_another_machine_lacks_is_said_with_its_client(self, tmp_path: Path, run_id: int) -> None:
        context = make_context(1, 6, small(dataset__name="npz").flat(), 3)
        context.node_config["data-root"], context.run_id = str(tmp_path), run_id
        reply = self.ask("query.describe", RecordDict({"config": ConfigRecord()}), context=context)
        reason = str(reply.error.reason)
        assert reason.startswith(f"there is no {tmp_path / 'train.npz'}")
        place = f" (on the node of client 1, whose data are in {tmp_path})"
        assert reason.endswith(place) == (run_id != RUN_ID)


def write_images(root: Path, counts: dict[str, int]) -> None:
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        for name, count in counts.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(
                    folder / f"{index}.png"
                )


def test_each_node_holds_what_lies_in_its_own_folder(tmp_path: Path) -> None:
    assume_task_identity()
    held = [{"cat": 3, "dog": 1}, {"cat": 2, "dog": 5}]
    config = Config.from_flat(
        merge(
            {
                "dataset.name": "image-folder",
                "partition.name": "node",
                "clients.count": 2,
                "model.name": "linear",
            }
        )
    )
    for client_id, counts in enumerate(held):
        write_images(tmp_path / str(client_id), counts)
        context = make_context(client_id, 2, config.flat(), node_id=client_id + 2)
        context.node_config["data-root"] = str(tmp_path / str(client_id))
        query = RecordDict({CONFIG: ConfigRecord()})
        message = Message(query, dst_node_id=client_id + 2, message_type="query.describe")
        description = run_describe(message, context).metric_records[METRICS]
        assert description["client-id"] == client_id
        assert description["label-counts"] == [counts["cat"], counts["dog"]]


@pytest.mark.parametrize("method", ["moon", "knn-per", "fedetf", "fedloge", "creff", "fedrod", "ratio-loss"])
def test_methods_for_one_label_per_sample_say_so(method: str, tmp_path: Path) -> None:
    for part in ("train", "test"):
        np.savez(tmp_path / f"{part}.npz", inputs=np.eye(6, 4, dtype=int), targets=np.eye(6, 4, dtype=int))
    keys: dict[str, Value] = {"dataset.name": "npz", "dataset.kind": "tokens", "dataset.root": str(tmp_path)}
    keys |= {"partition.name": "iid", "clients.count": 1, "model.name": "char-lstm", "model.hidden": 4}
    config = Config.from_flat(merge({**keys, "method.name": method}))
    assume_task_identity()
    ask = Message(RecordDict({CONFIG: ConfigRecord()}), dst_node_id=2, message_type="query.describe")
    reason = app(ask, make_context(0, 1, config.flat(), 2)).error.reason
    assert reason.startswith(
        f"method.name '{method}' needs one label per sample, and dataset 'npz' has one per"
    )
