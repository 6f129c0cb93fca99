"""How similar the clients' models of chosen rounds are, layer by layer (``analysis.similarity-rounds``)."""

import copy
import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from flwr.app import Message
from torch import nn

from common.cka import centred_gram, cka_of_grams
from common.device import resolve_device
from common.errors import UserError
from common.files import write_atomic
from common.records import ARRAYS, SIZE, config_record, to_tensors
from common.round_list import RoundList
from datasets.dataset import Dataset
from datasets.transforms import make_normalizer
from models.classifier import as_classifier
from models.measures.representations import layer_outputs, layers_to_compare
from server.observers._observer import Observer, Round
from server.parts import Parts


class Similarity(Observer):
    """Writes ``similarity/round-000010.csv``: linear CKA of all pairs of the round's clients.

    Raises
    ------
    UserError
        If parts of the models never leave the clients.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        section = parts.config.analysis
        self._rounds = RoundList(section.similarity_rounds, "analysis.similarity-rounds")
        if not self._rounds:
            return
        if parts.clients.personal_names:
            raise UserError(
                "analysis.similarity-rounds compares models that clients send whole, which those of"
                f" '{parts.config.method.name}' do not: leave it empty"
            )
        device = resolve_device(parts.config.device)
        self._models = _Models(parts.evaluation.model, parts.dataset, device, section.images)

    def replies(self, current: Round, replies: Iterable[Message]) -> Iterable[Message]:
        """Compare each model as it passes."""
        return self._compared(current, replies) if current.number in self._rounds else replies

    def _compared(self, current: Round, replies: Iterable[Message]) -> Iterator[Message]:
        grams: dict[int, dict[str, Any]] = {}
        for reply in replies:
            client_id = self.parts.clients.client_ids[reply.metadata.src_node_id]
            size = str(config_record(current.messages[client_id].content).get(SIZE, ""))
            outputs = self._models.outputs(to_tensors(reply.content.array_records[ARRAYS]), size)
            grams[client_id] = {layer: centred_gram(values.numpy()) for layer, values in outputs.items()}
            yield reply
        folder = self.run.run_directory.path / "similarity"
        folder.mkdir(exist_ok=True)
        _write(folder / f"round-{current.number:06d}.csv", grams)


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


def _write(path: Path, grams: Mapping[int, Mapping[str, Any]]) -> None:
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
