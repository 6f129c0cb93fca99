"""FedRoD's client half (Chen and Chao, ICLR 2022): a generic head for balance, a personal one next to it.

arXiv:2107.00778.
"""

from typing import Literal

import torch
from torch.nn import functional as F

from clients._class_prior import log_prior
from clients.base import Client
from clients.hooks import Predictor
from clients.local.batches import Batch
from clients.local.optimizers import make_optimizer, set_learning_rate
from common.records import Payload, Tensors
from models.classifier import as_classifier


class FedRoD(Client):
    """Body and generic head minimise balanced softmax; a personal linear head learns the residual.

    The personal head h_P sees the same features, detached, and minimises the cross-entropy of h_P(z) + h_G(z)
    with h_G(z) detached, in the same steps and with an optimiser of the same kind, which
    ``optimizer.clip-norm`` does not clip. The client predicts with the sum. This is the paper's linear
    personal head. It starts at zero, so a client that has never trained predicts as the generic model does.
    """

    AFTER_STEP_IS_ELEMENTWISE = True
    NEEDS_ONE_LABEL = True

    head_aggregation: Literal["examples", "class-wise"] = "examples"

    def validate(self) -> None:
        """Refuse models without a head."""
        as_classifier(self.worker.model)

    def init_state(self) -> Payload:
        """Return a personal head of zeros."""
        head = as_classifier(self.worker.model).classifier
        bias = torch.zeros(head.out_features, device=self.worker.device)
        return {"personal-head": {"weight": torch.zeros_like(head.weight), "bias": bias}}

    def begin_round(self) -> None:
        """Load the personal head and count the classes."""
        self.shift = log_prior(self.target_counts()).to(self.worker.device)
        self.head = {
            name: value.clone().requires_grad_() for name, value in self.state["personal-head"].items()
        }
        self.head_optimizer = make_optimizer(self.head.values(), self.worker.config.optimizer)

    def loss(self, params: Tensors, batch: Batch) -> torch.Tensor:
        """Return the sum of both losses; neither has a gradient in the other's parameters."""
        features, generic = self.features_and_logits(params, batch.inputs)
        personal = F.linear(features.detach(), self.head["weight"], self.head["bias"]) + generic.detach()
        return F.cross_entropy(generic + self.shift, batch.targets) + F.cross_entropy(personal, batch.targets)

    def after_step(self, params: Tensors) -> None:
        """Step the personal head."""
        set_learning_rate(self.head_optimizer, self.step_rate)
        self.head_optimizer.step()
        self.head_optimizer.zero_grad(set_to_none=True)

    def end_round(self, params: Tensors) -> Payload:
        """Keep the personal head; for class-wise aggregation send the class counts."""
        self.state["personal-head"] = {name: value.detach() for name, value in self.head.items()}
        if self.head_aggregation == "class-wise":
            return {"class-counts": {"counts": self.label_counts().double()}}
        return {}

    def personal_predictor(self) -> Predictor:
        """Return the sum of both heads' logits."""
        model, head = as_classifier(self.worker.model), self.state["personal-head"]

        def predict(inputs: torch.Tensor) -> torch.Tensor:
            features = model.embed(inputs)
            logits: torch.Tensor = model.classifier(features)
            return logits + F.linear(features, head["weight"], head["bias"])

        return predict
