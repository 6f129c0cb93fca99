"""What ``analysis/`` needs of chosen rounds and no other file holds: similarities, updates, diagnostics.

The recorder watches a strategy's public methods, so that it sees every method's clients and every carrier's
messages; neither it nor what it writes has a say in the result.
"""

import copy
import csv
import fnmatch
import io
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from safetensors.torch import save
from torch import nn

from common.cka import centred_gram, cka_of_grams
from common.config import Config
from common.device import resolve_device
from common.errors import UserError
from common.files import write_atomic
from common.records import ARRAYS, CONFIG, to_tensors
from common.round_list import RoundList
from datasets.dataset import Dataset
from datasets.transforms import make_normalizer
from models.classifier import as_classifier
from models.measures.representations import layer_outputs, layers_to_compare
from server.messages.directory import ClientDirectory
from server.records.feature_record import FeatureRecord
from server.records.run_directory import RunDirectory
from strategies.fedavg import FedAvg

_SIZE = "size"  # in a message's configuration: which sub-model the client has


class Recorder:
    """Writes down what the keys ``analysis.*`` ask for.

    Parameters
    ----------
    config : Config
        The run's configuration.
    model : nn.Module
        The server's model; a copy is kept.
    dataset : Dataset
        Its test images are what models are compared on.
    clients : ClientDirectory
        Node id → client id.

    Raises
    ------
    UserError
        If models are to be compared of which parts never leave the clients, or no entry has a name asked for.
    """

    def __init__(
        self,
        config: Config,
        model: nn.Module,
        dataset: Dataset,
        clients: ClientDirectory,
    ) -> None:
        self._section = config.analysis
        self._similarity_rounds = RoundList(self._section.similarity_rounds, "analysis.similarity-rounds")
        self._update_rounds = RoundList(self._section.update_rounds, "analysis.update-rounds")
        self._feature_rounds = RoundList(self._section.feature_rounds, "analysis.feature-rounds")
        self._features = FeatureRecord(config, model, dataset) if self._feature_rounds else None
        self._client_ids = clients.client_ids
        self._start: Mapping[str, Array] = {}
        self._sizes: dict[int, str] = {}
        if self._similarity_rounds:
            if clients.personal_names:
                raise UserError(
                    "analysis.similarity-rounds compares models that clients send whole, which those of"
                    f" '{config.method.name}' do not: leave it empty"
                )
            self._models = _Models(model, dataset, resolve_device(config.device), self._section.images)
        names = [name for name, value in model.state_dict().items() if value.is_floating_point()]
        patterns = [part.strip() for part in self._section.update_layers.split(",") if part.strip()]
        self._update_names = {
            name
            for name in names
            if not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
        }
        if self._update_rounds and not self._update_names:
            raise UserError(f"analysis.update-layers: no entry of the model is like '{patterns[0]}'")

    def watch(self, strategy: FedAvg, run_directory: RunDirectory) -> None:
        """See from now on what goes into a strategy and what comes out of it, and write it down."""
        path, configure, aggregate = run_directory.path, strategy.configure_train, strategy.aggregate_train
        diagnostics = getattr(strategy, "layers", None) if getattr(strategy, "inco", False) else None
        if not (self._similarity_rounds or self._update_rounds or self._features or diagnostics):
            return
        if self._features:
            self._features.open(run_directory)
        layers = run_directory.add_log("layers", ("round", "layer")) if diagnostics else None

        def configure_train(
            server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
        ) -> list[Message]:
            messages = list(configure(server_round, arrays, config, grid))
            self._start = arrays
            self._sizes = {
                message.metadata.dst_node_id: str(message.content.config_records[CONFIG].get(_SIZE, ""))
                for message in messages
            }
            return messages

        def aggregate_train(
            server_round: int, replies: Iterable[Message]
        ) -> tuple[ArrayRecord | None, MetricRecord | None]:
            if server_round in self._similarity_rounds:
                replies = self._compared(replies, _file(path, "similarity", server_round, "csv"))
            arrays, metrics = aggregate(server_round, replies)
            if arrays is not None and server_round in self._update_rounds:
                self._write_update(arrays, _file(path, "updates", server_round, "safetensors"))
            if arrays is not None and self._features and server_round in self._feature_rounds:
                state = to_tensors({**self._start, **arrays})
                self._features.write(server_round, state, strategy.variants(state))
            if layers and diagnostics:
                for layer, values in diagnostics(server_round).items():
                    layers.append({"round": server_round, "layer": layer, **values})
            return arrays, metrics

        # Functions in a strategy's attributes are configuration: checkpoints leave them out.
        vars(strategy).update(configure_train=configure_train, aggregate_train=aggregate_train)

    def _compared(self, replies: Iterable[Message], path: Path) -> Iterator[Message]:
        grams: dict[int, dict[str, Any]] = {}
        for reply in replies:
            node_id = reply.metadata.src_node_id
            section = to_tensors(reply.content.array_records[ARRAYS])
            outputs = self._models.outputs(section, self._sizes.get(node_id, ""))
            grams[self._client_ids[node_id]] = {
                layer: centred_gram(values.numpy()) for layer, values in outputs.items()
            }
            yield reply
        _write_similarities(path, grams)

    def _write_update(self, arrays: Mapping[str, Array], path: Path) -> None:
        chosen = [name for name in arrays if name in self._update_names and name in self._start]
        before = to_tensors({name: self._start[name] for name in chosen})
        after = to_tensors({name: arrays[name] for name in chosen})
        update = {name: (after[name].double() - before[name].double()).float() for name in chosen}
        write_atomic(path, save(update))


class _Models:
    """Clients' models, one at a time, on the same test images."""

    def __init__(self, model: nn.Module, dataset: Dataset, device: torch.device, num_images: int) -> None:
        self._server_model = model
        self._copies: dict[str, nn.Module] = {}
        inputs = dataset.test.inputs
        # Spread over the whole set, which may be sorted by class.
        chosen = torch.linspace(0, len(inputs) - 1, min(num_images, len(inputs))).round().long()
        self._images = make_normalizer(dataset, device)(inputs[chosen].to(device))

    def outputs(self, section: Mapping[str, torch.Tensor], size: str) -> dict[str, torch.Tensor]:
        if size not in self._copies:
            self._copies[size] = _copy(self._server_model, size)
        model = self._copies[size]
        model.load_state_dict(section)
        return layer_outputs(as_classifier(model), self._images, layers_to_compare(model))


def _copy(model: nn.Module, size: str) -> nn.Module:
    if not size:
        return copy.deepcopy(model)
    smaller: nn.Module = model.submodel(size)  # type: ignore[operator]
    return smaller.to(next(model.parameters()).device)


def _file(run_dir: Path, folder: str, server_round: int, suffix: str) -> Path:
    (run_dir / folder).mkdir(exist_ok=True)
    return run_dir / folder / f"round-{server_round:06d}.{suffix}"


def _write_similarities(path: Path, grams: Mapping[int, Mapping[str, Any]]) -> None:
    """Write a row per layer and pair of clients that both have it: ``layer,client_a,client_b,cka``."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["layer", "client_a", "client_b", "cka"])
    layers = dict.fromkeys(layer for of_client in grams.values() for layer in of_client)
    for layer in layers:
        for a, b in combinations(sorted(client for client in grams if layer in grams[client]), 2):
            value = cka_of_grams(grams[a][layer], grams[b][layer])
            writer.writerow([layer, a, b, f"{value:.6f}"])
    write_atomic(path, table.getvalue().encode())
