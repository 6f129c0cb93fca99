"""Features of the test images after a round: their geometry, and the results of heads on them."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from common.config import Config
from common.device import resolve_device
from common.errors import UserError
from common.files import write_atomic
from common.records import Tensors
from datasets.dataset import Dataset
from datasets.transforms import make_normalizer
from models.classifier import as_classifier
from models.heads.realignment import WEIGHT, head_of_model, logits
from models.measures.neural_collapse import (
    ClassStatistics,
    class_statistics,
    equinorm_and_equiangularity,
    nearest_mean_disagreement,
    negligible_dimensions,
    pairwise_angles,
    self_duality,
    spread,
    within_class_variability,
)
from server.records.run_directory import RunDirectory

OWN_HEAD = "classifier"
# FedLoGe's pruning test removes the tenth of the dimensions with the smallest means, or with the largest.
_PRUNED = 1 - 0.9


class FeatureRecord:
    """Writes ``neural_collapse.csv``, ``heads.csv`` and ``features/`` of a run.

    Parameters
    ----------
    config, model, dataset
        Those of the run; a copy of the model is kept.

    Raises
    ------
    UserError
        If the data have a label per position.
    """

    def __init__(self, config: Config, model: nn.Module, dataset: Dataset) -> None:
        if dataset.target_shape:
            raise UserError("analysis.feature-rounds needs one label per sample: leave it empty")
        self._model = copy.deepcopy(as_classifier(model))
        self._device = resolve_device(config.device)
        self._batch_size = config.evaluate.batch_size
        self._normalizer = make_normalizer(dataset, self._device)
        self._inputs, self._targets = dataset.test.inputs, dataset.test.targets.cpu()
        self._num_classes = dataset.num_classes

    def open(self, run_directory: RunDirectory) -> None:
        """Open the files."""
        self._folder = run_directory.path / "features"
        self._rounds = run_directory.add_log("neural_collapse", ("round",))
        self._classes = run_directory.add_log("heads", ("round", "head", "class", "norm", "accuracy"))

    def write(self, server_round: int, state: Tensors, variants: Mapping[str, Tensors]) -> None:
        """Record a global model, and variants of it that differ only in the head."""
        self._model.load_state_dict(state, strict=False)
        features = self._features()
        statistics = class_statistics(features, self._targets, self._num_classes)
        # Entries that are not sent, such as personal heads, stay as they are in this copy.
        heads = {OWN_HEAD: head_of_model({k: v.cpu() for k, v in self._model.state_dict().items()})}
        heads |= {name: head_of_model(entries) for name, entries in variants.items()}
        self._rounds.append({"round": server_round, **self._geometry(features, statistics, heads)})
        for name, head in heads.items():
            hits = logits(head, features).argmax(dim=1) == self._targets
            accuracies = torch.bincount(self._targets, hits.double(), minlength=self._num_classes)
            accuracies /= statistics.counts.clamp(min=1)
            for label, (norm, accuracy) in enumerate(
                zip(head[WEIGHT].norm(dim=1).tolist(), accuracies.tolist(), strict=True)
            ):
                row = {
                    "round": server_round,
                    "head": name,
                    "class": label,
                    "norm": norm,
                    "accuracy": accuracy,
                }
                self._classes.append(row)
        _write_file(self._folder / f"round-{server_round:06d}.safetensors", statistics, heads)

    def _geometry(
        self, features: Tensor, statistics: ClassStatistics, heads: Mapping[str, Tensors]
    ) -> dict[str, float]:
        nc2_norms, nc2_angles = equinorm_and_equiangularity(statistics)
        negligible = negligible_dimensions(statistics)
        own = heads[OWN_HEAD]
        values: dict[str, Any] = {
            "nc1": within_class_variability(features, self._targets, statistics),
            "nc2_norms": nc2_norms,
            "nc2_angles": nc2_angles,
            "mean_angle": float(pairwise_angles(statistics.means).mean()),
            "spread_negligible": spread(features, self._targets, statistics, negligible),
            "spread_other": spread(features, self._targets, statistics, ~negligible),
            "accuracy_without_negligible": self._pruned_accuracy(
                features, own, negligible_dimensions(statistics, _PRUNED)
            ),
            "accuracy_without_dominant": self._pruned_accuracy(
                features, own, ~negligible_dimensions(statistics, 0.9)
            ),
        }
        for name, head in heads.items():
            predictions = logits(head, features).argmax(dim=1)
            suffix = "" if name == OWN_HEAD else f"_{name}"
            values[f"nc3{suffix}"] = self_duality(head[WEIGHT], statistics)
            values[f"nc4{suffix}"] = nearest_mean_disagreement(features, predictions, statistics)
        return values

    def _pruned_accuracy(self, features: Tensor, head: Tensors, pruned: Tensor) -> float:
        without = {**head, WEIGHT: head[WEIGHT].masked_fill(pruned, 0)}
        return float((logits(without, features).argmax(dim=1) == self._targets).double().mean())

    @torch.no_grad()
    def _features(self) -> Tensor:
        self._model.eval()
        parts = [
            self._model.embed(self._normalizer(part.to(self._device))).float().cpu()
            for part in torch.split(self._inputs, self._batch_size)
        ]
        return torch.cat(parts)


def _write_file(path: Path, statistics: ClassStatistics, heads: Mapping[str, Tensors]) -> None:
    path.parent.mkdir(exist_ok=True)
    tensors = {
        "counts": statistics.counts,
        "means": statistics.means.float(),
        "variances": statistics.variances.float(),
        **{f"head/{name}": head[WEIGHT].clone().contiguous() for name, head in heads.items()},
    }
    write_atomic(path, save(tensors))
