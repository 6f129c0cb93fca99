"""FedLoGe's client half (Xiao et al., ICLR 2024, arXiv:2401.08977)."""

import functools
import math
from collections.abc import Collection, Mapping
from typing import Annotated, ClassVar, Literal

import torch
from flwr.app import MessageType
from pydantic import Field
from torch.nn import functional as F

from clients._tuned_head import tuned_head
from clients.base import Client
from clients.hooks import Predictor
from clients.local.batches import Batch
from clients.local.incoming import Section
from clients.local.optimizers import make_optimizer, set_learning_rate
from common.parameters import Needs
from common.randomness import torch_generator
from common.records import Payload, Tensors
from common.sections import NonNegative, NonNegativeFloat, Value
from models.classifier import as_classifier
from models.heads.parts import part_names
from models.heads.realignment import (
    WEIGHT,
    BiasOf,
    Inference,
    head_of_model,
    logits,
    personal_logits,
    realign_globally,
)
from models.heads.sse_c import DENSE_FRAMES, DROPOUTS, HeadKind, check_frame


class FedLoGe(Client):
    """Trains the backbone under the model's frozen head, and two heads on its detached features.

    In every step psi, which goes to the server, and phi_k, which never leaves the client, see the features
    of the same forward pass. Their optimisers are of the backbone's kind, and their learning rates are the
    step's times ``global_head_learning_rate_scale`` and ``local_head_learning_rate_scale``;
    ``optimizer.clip-norm`` clips the backbone's gradient only. The client predicts with both heads, realigned
    as ``inference`` says (``models.heads.realignment``). With ``fine_tuning_epochs`` it is also evaluated
    with phi_k plus a psi that is realigned to rows of norm ``kappa`` and then fine-tuned on its data: the
    authors' test of new clients.

    Two of the heads are a dense frame that is masked in training. ``weight-dropout-etf`` masks its weights,
    ``feature-dropout-etf`` the features before it (with a separate mask for each position in a mini-batch).
    The mask is 0 with probability ``head_dropout``, the same throughout a round and for all clients, and not
    rescaled, as in the authors' code; predictions use the whole frame.
    """

    EXAMPLE: ClassVar[dict[str, Value]] = {"model.name": "mlp", "method.head-steps": 20}
    AFTER_STEP_IS_ELEMENTWISE = True
    NEEDS_ONE_LABEL = True
    NEEDS: ClassVar[Mapping[str, Needs]] = {
        "head_dropout": Needs("head", DROPOUTS),
        "paper_bias": Needs("inference", ("paper",)),
    }

    head: HeadKind = "sse-c"
    head_aggregation: Literal["examples", "class-wise"] = "examples"
    head_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    inference: Inference = "code"
    paper_bias: BiasOf = "global"
    global_head_learning_rate_scale: NonNegativeFloat = 1.0
    local_head_learning_rate_scale: NonNegativeFloat = 1.0
    fine_tuning_epochs: NonNegative = 0
    kappa: Annotated[float, Field(gt=0, le=1e6)] = 1.7

    def validate(self) -> None:
        """Refuse a model with too few features for the head."""
        if self.head in ("sse-c", *DENSE_FRAMES):
            classifier = as_classifier(self.worker.model).classifier
            check_frame(classifier.out_features, classifier.in_features)

    def init_state(self) -> Payload:
        """Return phi_k: a newly initialised linear layer, drawn for each client from its own seed."""
        model_head = head_of_model(self.worker.model_state)
        bound = 1 / math.sqrt(model_head["weight"].shape[1])  # as torch initialises weight and bias
        generator = torch_generator(self.worker.config.seed, "local-head", self.client_id)
        head = {
            name: torch.empty(value.shape, dtype=value.dtype).uniform_(-bound, bound, generator=generator)
            for name, value in model_head.items()
        }
        return {"local-head": {name: value.to(self.worker.device) for name, value in head.items()}}

    def receives(self) -> dict[str, Section]:
        """Return the form of psi."""
        return {
            "head": Section(head_of_model(self.worker.model_state), (MessageType.TRAIN, MessageType.EVALUATE))
        }

    def begin_round(self) -> None:
        """Prepare both heads for training, with new optimisers."""
        self._optimizers = []
        self._heads: list[Tensors] = []
        for head in (self.received["head"], self.state["local-head"]):
            leaves = {name: value.detach().clone().requires_grad_() for name, value in head.items()}
            self._heads.append(leaves)
            self._optimizers.append(make_optimizer(leaves.values(), self.worker.config.optimizer))
        if self.head in DROPOUTS:
            self._mask = self._draw_mask()

    def _draw_mask(self) -> torch.Tensor:
        """Return the round's mask of the frame (classes, features), or of features (batch, features)."""
        weight = self.received["head"][WEIGHT]
        rows = self.worker.config.local.batch_size if self.head == "feature-dropout-etf" else len(weight)
        generator = torch_generator(self.worker.config.seed, "head-dropout", self.server_round)
        drawn = torch.rand(rows, weight.shape[1], generator=generator)
        return (drawn >= self.head_dropout).to(weight)

    @functools.cached_property
    def _backbone(self) -> Collection[str]:
        return part_names(self.worker.model, "body")

    def trained_names(self) -> Collection[str]:
        """Return the backbone, or all parameters if the model's head is trained as well."""
        return self.params if self.head == "learnable" else self._backbone

    def loss(self, params: Tensors, batch: Batch) -> torch.Tensor:
        """Return the sum of three cross-entropies, of which only the first has a gradient in the model.

        Its logits are those of which ``train_accuracy`` is.
        """
        features = self.features(params, batch.inputs)
        seen = self._dropped(features, head_of_model(params))
        heads = seen, *((features.detach(), head) for head in self._heads)
        predictions = [logits(head, inputs) for inputs, head in heads]
        if params is self.params:
            self.noted(predictions[0])
        return torch.stack([F.cross_entropy(each, batch.targets) for each in predictions]).sum()

    def _dropped(self, features: torch.Tensor, head: Tensors) -> tuple[torch.Tensor, Tensors]:
        """Return the features and the model's head after dropout, for the backbone's loss."""
        if self.head == "weight-dropout-etf":
            return features, {**head, WEIGHT: head[WEIGHT] * self._mask}
        if self.head == "feature-dropout-etf":
            return features * self._mask[: len(features)], head
        return features, head

    def after_step(self, params: Tensors) -> None:
        """Step psi and phi_k."""
        scales = (self.global_head_learning_rate_scale, self.local_head_learning_rate_scale)
        for optimizer, scale in zip(self._optimizers, scales, strict=True):
            set_learning_rate(optimizer, self.step_rate * scale)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def end_round(self, params: Tensors) -> Payload:
        """Keep phi_k and send psi; for class-wise aggregation the class counts as well."""
        global_head, self.state["local-head"] = (
            {name: value.detach() for name, value in head.items()} for head in self._heads
        )
        sent: Payload = {"head": global_head}
        if self.head_aggregation == "class-wise":
            sent["class-counts"] = {"counts": self.label_counts().double()}
        return sent

    def personal_predictor(self) -> Predictor:
        """Return the realigned prediction."""
        return self._predictor(self.inference)

    def personal_predictors(self) -> dict[str, Predictor]:
        """Return the prediction after realignment, before it (``unaligned``), and ``fine_tuned`` if asked."""
        predictors = {"": self.personal_predictor(), "unaligned": self._predictor("log")}
        if self.fine_tuning_epochs:
            predictors["fine_tuned"] = self._fine_tuned_predictor()
        return predictors

    def _fine_tuned_predictor(self) -> Predictor:
        model, local_head = as_classifier(self.worker.model), self.state["local-head"]
        realigned = realign_globally(self.received["head"], self.kappa)
        tuned = tuned_head(self, realigned, self.fine_tuning_epochs)
        return lambda inputs: personal_logits(model.embed(inputs), tuned, local_head, "log")

    def _predictor(self, inference: Inference) -> Predictor:
        model = as_classifier(self.worker.model)
        global_head, local_head = self.received["head"], self.state["local-head"]
        return lambda inputs: personal_logits(
            model.embed(inputs), global_head, local_head, inference, self.paper_bias
        )
