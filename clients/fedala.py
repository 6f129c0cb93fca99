"""FedALA (Zhang et al., AAAI 2023, arXiv:2212.01197, Algorithm 1): adaptive local aggregation."""

import itertools
import math
import statistics
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from clients.base import Client
from clients.local.batches import Batch
from clients.local.forward_seeds import seed_forward
from common.records import ARRAYS, Payload, Tensors
from common.sections import Positive, Value
from models.heads.parts import part_names

MAX_PASSES = 100  # in a client's first adaptation, if its loss does not converge


class FedALA(Client):
    """Starts each round at theta_i + (theta - theta_i) W, elementwise, and trains as FedAvg does.

    theta is the global model, theta_i the client's last trained model. Only ``adapted_part``
    (``models.heads.parts``) is mixed, the paper's p higher layers; the rest is the global model's. Before
    each round W, clipped to [0, 1], is trained at ``weight_learning_rate`` for one pass over a fraction
    ``data_share`` of the data, drawn for the round; the first time, for as many passes over the same
    mini-batches as it takes until the losses at the end of the last ``window`` passes have a standard
    deviation below ``threshold``. W starts at 1, and a client's first round starts at the global model. The
    client predicts with the mixture, using its current W.
    """

    EXAMPLE: ClassVar[dict[str, Value]] = {"model.name": "mlp"}

    adapted_part: str = "head"
    weight_learning_rate: Annotated[float, Field(gt=0)] = 1.0
    data_share: Annotated[float, Field(gt=0, le=1)] = 0.8
    window: Positive = 10
    threshold: Annotated[float, Field(gt=0)] = 0.1

    def validate(self) -> None:
        """Refuse a part that the model does not have."""
        part_names(self.worker.model, self.adapted_part)

    def state_form(self) -> Payload:
        """Return the form of the state: the adapted part's."""
        part = {name: self.params[name] for name in self._adapted_names()}
        return {"previous": part, "weights": part}

    def begin_round(self) -> None:
        """Train W, and start from the mixture."""
        if "previous" not in self.state:
            return
        is_first = "weights" not in self.state
        weights = {name: torch.ones_like(value) for name, value in self.state["previous"].items()}
        self.state["weights"] = self._trained(self.state.get("weights", weights), is_first)
        self.worker.load(self._mixture(self.state["weights"]))

    def _trained(self, weights: Tensors, is_first: bool) -> Tensors:
        """Return W after one pass, or after as many as it takes."""
        self.worker.model.train()
        seed_forward(self, "extra")
        per_pass = self.worker.config.local.steps_per_pass(self.num_examples)
        size = max(1, math.ceil(self.data_share * per_pass))
        losses: list[float] = []
        for _ in range(MAX_PASSES if is_first else 1):
            for batch in itertools.islice(self.extra_batches(), size):  # the same ones in every pass
                weights, loss = self._step(weights, batch)
            losses.append(loss)
            if len(losses) > self.window and statistics.pstdev(losses[-self.window :]) < self.threshold:
                break
        return weights

    def _step(self, weights: Tensors, batch: Batch) -> tuple[Tensors, float]:
        changes, mixture = self._changes(), self._mixture(weights)
        loss, gradient = self.loss_and_gradient(self.params | mixture, batch)
        steps = {name: self.weight_learning_rate * gradient[name] * changes[name] for name in weights}
        return {name: (value - steps[name]).clamp(0, 1) for name, value in weights.items()}, float(loss)

    def _changes(self) -> Tensors:
        """Return theta - theta_i."""
        return {name: self.received[ARRAYS][name] - own for name, own in self.state["previous"].items()}

    def _mixture(self, weights: Tensors) -> Tensors:
        changes = self._changes()
        return {name: own + changes[name] * weights[name] for name, own in self.state["previous"].items()}

    def end_round(self, params: Tensors) -> Payload:
        """Keep the adapted part of theta_i."""
        self.state["previous"] = {name: params[name].detach().clone() for name in self._adapted_names()}
        return {}

    def _adapted_names(self) -> list[str]:
        return sorted(part_names(self.worker.model, self.adapted_part) & self.params.keys())

    def personal_model(self) -> Tensors:
        """Return the adapted part of the mixture."""
        return self._mixture(self.state["weights"]) if "weights" in self.state else {}
