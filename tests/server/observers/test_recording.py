"""What runs write down for the analyses, against what is computed here from their messages."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from flwr.app import ConfigRecord, Message, RecordDict
from safetensors.torch import load_file

import strategies
from clients.registry import load_method
from common.binary_files import read_safetensors
from common.cka import linear_cka
from common.config import Config
from common.config_values import merge
from common.errors import UserError
from common.records import ARRAYS, CONFIG, Payload, Tensors, to_record, to_tensors
from datasets.configured import open_dataset
from datasets.transforms import make_normalizer
from models.configured import build_configured_model
from models.measures.representations import layer_outputs
from runtimes.sequential import SequentialGrid
from server.observers import Round
from server.observers._similarity import Similarity
from strategies._inco_strategy import InCo
from tests.conftest import Runner, small_config
from tests.strategies.messages import make_message

RESNET = {"model__name": "resnet20", "augmentation__name": "none", "local__epochs": 0, "local__steps": 1}


class HearingGrid(SequentialGrid):
    """Keeps what clients replied."""

    replies: dict[tuple[int, int], Tensors] = {}  # noqa: RUF012

    def exchange(self, messages):
        for reply in super().exchange(messages):
            records = reply.content.array_records
            if ARRAYS in records and messages[0].metadata.message_type == "train":
                server_round = messages[0].content.config_records[CONFIG]["server-round"]
                key = (server_round, len([k for k in self.replies if k[0] == server_round]))
                self.replies[key] = {k: v.clone() for k, v in to_tensors(records[ARRAYS]).items()}
            yield reply


def model_hash(run_directory: Path) -> str:
    return str(json.loads((run_directory / "summary.json").read_text())["model_sha256"])


def test_similarities_of_a_round(run_small: Runner):
    HearingGrid.replies = {}
    options = {**RESNET, "analysis__similarity_rounds": "2", "analysis__images": 40}
    run_directory = run_small("run", HearingGrid, rounds=2, **options)
    assert [path.name for path in (run_directory / "similarity").iterdir()] == ["round-000002.csv"]
    found = pd.read_csv(run_directory / "similarity" / "round-000002.csv")

    config = small_config(**options)
    dataset = open_dataset(config)
    model = build_configured_model(config, dataset.input_shape, dataset.num_classes)
    chosen = np.linspace(0, len(dataset.test.inputs) - 1, 40).round().astype(int)
    images = make_normalizer(dataset, torch.device("cpu"))(dataset.test.inputs[chosen])
    outputs = []
    for client in range(3):
        model.load_state_dict(HearingGrid.replies[2, client])
        outputs.append(layer_outputs(model, images, [f"stages.{stage}" for stage in range(3)]))
    clients = pd.read_csv(run_directory / "clients.csv").query("round == 2")["client_id"].tolist()
    expected = [
        (layer, clients[a], clients[b], linear_cka(outputs[a][layer].numpy(), outputs[b][layer].numpy()))
        for layer in outputs[0]
        for a, b in ((0, 1), (0, 2), (1, 2))
    ]
    assert [tuple(row[:3]) for row in found.itertuples(index=False)] == [row[:3] for row in expected]
    np.testing.assert_allclose(found["cka"], [row[3] for row in expected], atol=1e-6)
    assert 0 < found["cka"].min() < found["cka"].max() < 1


def test_updates_are_the_changes_of_the_server_model(run_small: Runner):
    run_directory = run_small(
        "run", rounds=3, analysis__update_rounds="1-9:2", analysis__update_layers="fc1.*,classifier.bias"
    )
    files = sorted((run_directory / "updates").iterdir())
    assert [path.name for path in files] == ["round-000001.safetensors", "round-000003.safetensors"]
    assert list(read_safetensors(files[0])) == ["fc1.weight", "fc1.bias", "classifier.bias"]
    second = run_small("second", rounds=2)
    before, after = (load_file(path / "model.safetensors") for path in (second, run_directory))
    update = load_file(files[1])
    assert set(update) == {"fc1.weight", "fc1.bias", "classifier.bias"}
    for name, value in update.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, after[name] - before[name], rtol=0, atol=1e-7)
        assert value.count_nonzero()


def test_recording_has_no_say_in_the_result(run_small: Runner):
    options = {"analysis__similarity_rounds": "1-9", "analysis__update_rounds": "1-9"}
    recorded = run_small("recorded", method__name="scaffold", **options)
    plain = run_small("plain", method__name="scaffold")
    assert model_hash(recorded) == model_hash(plain)
    assert (recorded / "similarity" / "round-000003.csv").exists()
    assert not {"similarity", "updates", "layers.csv"} & {path.name for path in plain.iterdir()}


def test_strategies_of_flower_are_seen_too(run_small: Runner):
    run_directory = run_small("run", rounds=1, method__name="flwr:FedMedian", analysis__similarity_rounds="1")
    assert len(pd.read_csv(run_directory / "similarity" / "round-000001.csv")) == 3


def test_refusals_come_before_the_run_directory(run_small: Runner, tmp_path: Path):
    for name, options, message in (
        ("a", {"analysis__similarity_rounds": "1", "method__name": "fedper"}, "those of 'fedper' do not"),
        ("b", {"analysis__update_rounds": "1", "analysis__update_layers": "conv9*"}, "is like 'conv9\\*'"),
    ):
        with pytest.raises(UserError, match=message):
            run_small(name, **options)
        assert not (tmp_path / name).exists()


class InCoAverage(InCo):
    """A server half that applies InCo to the mean change."""

    def update(self, averages: Payload, server_round: int) -> Tensors:
        change = self.apply_inco(self.mean_change(averages))
        return self.stepped(averages, change)


@pytest.fixture
def inco_method(tmp_path_factory, monkeypatch):
    """A method ``inco-average`` that is found by its file name."""
    folder = tmp_path_factory.mktemp("strategies")
    (folder / "inco_average.py").write_text(
        "from tests.server.observers.test_recording import InCoAverage as Base\n\n\n"
        "class InCoAverage(Base):\n    pass\n"
    )
    monkeypatch.setattr(strategies, "__path__", [*strategies.__path__, str(folder)])
    load_method.__globals__["_load_method"].cache_clear()
    yield {"method__name": "inco-average", "method__inco": True}
    load_method.__globals__["_load_method"].cache_clear()


def test_diagnostics_of_inco_by_layer_and_round(run_small: Runner, inco_method):
    whole = run_small("whole", rounds=4, **RESNET, **inco_method)
    layers = pd.read_csv(whole / "layers.csv")
    targets = [f"stages.{s}.{b}.conv{c}.weight" for s in range(3) for b in (1, 2) for c in (1, 2)]
    assert layers["layer"].tolist() == 4 * targets
    assert layers["round"].tolist() == [number for number in (1, 2, 3, 4) for _ in targets]
    assert layers["theta"].between(0, 5).all()
    metrics = pd.read_csv(whole / "metrics.csv")
    means = layers.groupby("round")[["theta", "beta_positive", "clipped"]].mean()
    found = metrics.set_index("round")[["inco_theta", "inco_beta_positive", "inco_clipped"]].loc[1:]
    np.testing.assert_allclose(found.to_numpy(), means.to_numpy(), rtol=1e-4)
    assert model_hash(whole) != model_hash(
        run_small("off", rounds=4, **{**RESNET, **inco_method, "method__inco": False})
    )

    # A run that goes on ends with the same files.
    parts = run_small("parts", rounds=2, **RESNET, **inco_method)
    with (parts / "layers.csv").open("a") as file:
        file.write("3,written before the process died" + ",0" * (len(layers.columns) - 2) + "\n")
    parts = run_small("parts", rounds=4, run__resume=True, **RESNET, **inco_method)
    assert (parts / "layers.csv").read_text() == (whole / "layers.csv").read_text()
    assert model_hash(parts) == model_hash(whole)


def test_sub_models_are_told_by_the_size_in_their_message(tmp_path: Path):
    """Clients with the first one and two blocks of a transformer with three."""
    options = {
        "model.name": "vit-small", "model.depth": 3, "model.width": 12, "model.heads": 2,
        "model.patch-size": 4, "dataset.name": "digits", "analysis.similarity-rounds": "1", "device": "cpu",
    }  # fmt: skip
    config = Config.from_flat(merge(options))
    dataset = open_dataset(config)
    model = build_configured_model(config, dataset.input_shape, dataset.num_classes)

    parts = SimpleNamespace(
        config=config,
        dataset=dataset,
        evaluation=SimpleNamespace(model=model),
        clients=SimpleNamespace(client_ids={1: 10, 2: 20, 3: 30}, personal_names=frozenset()),
    )
    make_message()
    messages, replies = {}, []
    for node_id, client_id in parts.clients.client_ids.items():
        size = ConfigRecord({"server-round": 1, "size": f"depth{node_id}"})
        message = Message(RecordDict({CONFIG: size}), dst_node_id=node_id, message_type="train")
        messages[client_id] = message
        content = RecordDict({ARRAYS: to_record(model.submodel(f"depth{node_id}").state_dict())})
        replies.append(Message(content, reply_to=message))
    observer = Similarity(parts)
    observer.start(SimpleNamespace(run_directory=SimpleNamespace(path=tmp_path)))
    assert list(observer.replies(Round(1, messages=messages), replies)) == replies
    table = pd.read_csv(tmp_path / "similarity" / "round-000001.csv")
    # All have the weights of one model: what they share is the same, and one block or two are missing.
    assert table[["layer", "client_a", "client_b"]].values.tolist() == [
    ["blocks.0", 10, 20], ["blocks.0", 10, 30], ["blocks.0", 20, 30], ["blocks.1", 20, 30]
    ]  # fmt: skip
    np.testing.assert_allclose(table["cka"], 1, atol=1e-6)
