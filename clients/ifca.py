"""IFCA's client half (Ghosh, Chung, Yin and Ramchandran 2020, arXiv:2006.04088, Algorithm 1)."""

from typing import ClassVar

import torch

from clients.base import Client
from clients.local.full_batch import full_loss
from clients.local.incoming import Section
from common.records import ARRAYS, Payload, Tensors
from common.sections import Value


class IFCA(Client):
    """Trains, and predicts with, the cluster model that has the smallest loss on the client's data.

    The loss is over all of the client's training samples, in evaluation mode; ties go to the first cluster.
    """

    EXAMPLE: ClassVar[dict[str, Value]] = {"model.name": "mlp"}

    def receives(self) -> dict[str, Section]:
        """Return the form of the other clusters' models."""
        return {"cluster-*": Section(self.worker.model_state, needed_for=())}

    def begin_round(self) -> None:
        """Choose a cluster and start from its model."""
        self.cluster = self._nearest()
        model = self._models()[self.cluster]
        self.worker.load(model)
        self.received = {**self.received, ARRAYS: model}

    def _models(self) -> list[Tensors]:
        """Return the clusters' models, each with the client's own BatchNorm statistics if they are local."""
        others = sorted(
            (name for name in self.received if name.startswith("cluster-")),
            key=lambda name: int(name.removeprefix("cluster-")),
        )
        return [{**self.received[name], **self.kept_entries} for name in (ARRAYS, *others)]

    def _nearest(self) -> int:
        losses = []
        for model in self._models():
            self.worker.load(model)
            losses.append(full_loss(self))
        return losses.index(min(losses))

    def end_round(self, params: Tensors) -> Payload:
        """Send the cluster to which the model belongs."""
        return {"cluster": {"chosen": torch.tensor(self.cluster)}}

    def personal_model(self) -> Tensors:
        """Return the chosen cluster's model."""
        return self._models()[self._nearest()]
