"""FedETF's client half (Li et al., ICCV 2023), and the port of dot regression in FedLoGe's repository.

arXiv:2303.10058.
"""

import functools
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch.nn import functional as F

from clients.base import Client
from clients.local.batches import Batch
from common.errors import UserError
from common.parameters import Needs
from common.rates import base_rate
from common.records import Tensors
from common.sections import NonNegative, Positive, Value
from models.classifier import as_classifier
from models.heads.parts import part_names
from models.heads.realignment import HEAD, WEIGHT
from models.heads.sse_c import check_frame

Variant = Literal["fedetf", "etf-dr"]


class FedETF(Client):
    """Trains features towards a frozen equiangular tight frame.

    ``fedetf``: cross-entropy of temperature x cosine + log n_k, where n_k are the client's class counts,
    after a normalised projection. The client's personal model is fine-tuned with plain cross-entropy:
    everything but the frame for ``fine_tuning_epochs``, then the frame and the projection in turn for
    ``alternation_epochs`` each, ``alternations`` times, at ``optimizer.learning-rate`` whatever the schedule,
    which may end near 0 (the authors' code: as many epochs as in training, then 20 times 3 and 3, with
    separate learning rates).

    ``etf-dr``: dot regression of the normalised features onto the frame, weighted by the classes of the
    mini-batch. The BatchNorm before it is part of the model and averaged with it, evaluated with running
    statistics, and applied once; none of this holds in FedLoGe's repository.
    """

    EXAMPLE: ClassVar[dict[str, Value]] = {"model.name": "mlp", "method.alternation-epochs": 1}

    NEEDS_ONE_LABEL = True
    NEEDS: ClassVar[Mapping[str, Needs]] = {
        name: Needs("variant", ("fedetf",))
        for name in ("fine_tuning_epochs", "alternations", "alternation_epochs")
    }

    variant: Variant = "fedetf"
    fine_tuning_epochs: NonNegative = 1
    alternations: NonNegative = 1
    alternation_epochs: Positive = 3
    _phase: str = "body"

    @classmethod
    def defaults(cls, parameters: Mapping[str, Any]) -> Mapping[str, Value]:
        """Return the projection that goes with the variant."""
        return {"model.features": "batch-normalized" if parameters["variant"] == "etf-dr" else "normalized"}

    def validate(self) -> None:
        """Refuse a model that does not go with the frame."""
        classifier = as_classifier(self.worker.model).classifier
        check_frame(classifier.out_features, classifier.in_features)
        expected = self.defaults({"variant": self.variant})["model.features"]
        given = self.worker.config.model.parameters.get("features", "plain")
        if given != expected:
            raise UserError(
                f"method.variant '{self.variant}' needs model.features = '{expected}', not '{given}'"
            )

    @functools.cached_property
    def _phases(self) -> dict[str, Collection[str]]:
        model = self.worker.model
        return {
            "body": part_names(model, "body"),
            "frame": [name for name in part_names(model, "head") if name.endswith(WEIGHT)],
            "projection": part_names(model, "projection.linear") if self.variant == "fedetf" else (),
        }

    @functools.cached_property
    def _log_counts(self) -> torch.Tensor:
        return self.target_counts().float().log().to(self.worker.device)  # -infinity: the class is out

    def trained_names(self) -> Collection[str]:
        """Return everything but the frame; when fine-tuning, what its phase trains."""
        return self._phases[self._phase]

    def loss(self, params: Tensors, batch: Batch) -> torch.Tensor:
        """Return the loss of the variant."""
        if self.variant == "fedetf":
            logits = self.forward(params, batch.inputs)
            if self._phase == "body":
                logits = logits + self._log_counts
            return F.cross_entropy(logits, batch.targets)
        units = self.features(params, batch.inputs)
        return dot_regression(units, params[f"{HEAD}{WEIGHT}"], batch.targets)

    def personal_model(self) -> Tensors:
        """Return the fine-tuned model; ``etf-dr`` has none."""
        if self.variant == "etf-dr":
            return {}
        model: Tensors = {name: value.detach().clone() for name, value in self.worker.model_state.items()}
        rate = base_rate(self.worker.config)
        if self.fine_tuning_epochs:
            model = self.train_personal(model, rate, epochs=self.fine_tuning_epochs)
        try:
            for _ in range(self.alternations):
                for self._phase in ("frame", "projection"):
                    model = self.train_personal(model, rate, epochs=self.alternation_epochs)
        finally:
            self._phase = "body"
        return model


def dot_regression(units: torch.Tensor, frame: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the dot-regression loss (Yang et al. 2022), half the mean of (<u, m> - ||m||)^2.

    m is the frame's row for the sample's class times sqrt(g / n_c), where n_c is the number of the class's
    samples in the batch and g the mean of n_c over the classes in the batch.

    Parameters
    ----------
    units : Tensor
        (samples, features), of length 1.
    frame : Tensor
        (classes, features).
    targets : Tensor
        int64, (samples,).
    """
    counts = torch.bincount(targets, minlength=len(frame))
    per_class = len(targets) / (counts > 0).sum()
    goals = frame[targets] * (per_class / counts[targets]).sqrt()[:, None]
    errors: torch.Tensor = (units * goals).sum(dim=1) - goals.norm(dim=1)
    return errors.square().mean() / 2
