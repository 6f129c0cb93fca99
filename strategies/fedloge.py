"""FedLoGe's server half (Xiao et al., ICLR 2024, arXiv:2401.08977)."""

from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar, Literal

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid
from pydantic import Field

from common.parameters import Needs
from common.randomness import torch_generator
from common.records import ARRAYS, CONFIG, Payload, Tensors, to_record
from common.sections import NonNegative
from models.heads.head_cache import HeadSpec, cached_sse_c
from models.heads.realignment import (
    WEIGHT,
    head_of_model,
    model_entries,
    realign_globally,
    without_bias,
)
from models.heads.sse_c import DENSE_FRAMES, HeadKind, dense_etf, random_mask
from strategies._class_wise import ClassWiseHead
from strategies._fixed_head import FixedHead


class FedLoGe(ClassWiseHead, FixedHead):
    """Averages the backbone, trained under a frozen head, and the global head psi.

    The model's own head is SSE-C (``models.heads.sse_c``): created before the first round, sent with the
    model, never averaged. psi starts as the model's initial head. ``head`` replaces SSE-C for ablations: by a
    dense frame of norm ``head_norm``, optionally with dropout in training, by the model's initial head with
    or without the mask, or by a head that is trained and averaged like everything else. psi is averaged as
    ``head_aggregation`` says. Central evaluation adds psi (``global_head``), and psi realigned to rows of
    norm ``kappa`` (``realigned``), to norm 1, and without its bias (GA-FR).
    """

    SECTIONS = frozenset({ARRAYS, "head"})

    NEEDS: ClassVar[Mapping[str, Needs]] = {
        "sparsity": Needs("head", ("sse-c", "sparse-random")),
        "head_norm": Needs("head", ("sse-c", *DENSE_FRAMES)),
        "head_steps": Needs("head", ("sse-c",)),
        "head_learning_rate": Needs("head", ("sse-c",)),
    }

    head: HeadKind = "sse-c"
    sparsity: Annotated[float, Field(ge=0, lt=1)] = 0.6
    head_norm: Annotated[float, Field(gt=0, le=1e6)] = 0.1
    head_steps: NonNegative = 10_000
    head_learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    head_bias: Literal["zeros", "linear-default"] = "zeros"
    kappa: Annotated[float, Field(gt=0, le=1e6)] = 1.7

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self.global_head: Tensors = {}

    def initial_model(self, model: Tensors, seed: int) -> Tensors:
        """Put the fixed head into the model; psi starts from the head that it replaces."""
        self.global_head = {name: value.clone() for name, value in head_of_model(model).items()}
        head = dict(self.global_head)
        head[WEIGHT] = self._fixed_weight(head[WEIGHT], seed).to(head[WEIGHT].dtype)
        is_initial = self.head == "learnable" or self.head_bias == "linear-default"
        return {**model, **model_entries(head if is_initial else without_bias(head))}

    def _fixed_weight(self, initial: torch.Tensor, seed: int) -> torch.Tensor:
        num_classes, num_features = initial.shape
        if self.head == "sse-c":
            return cached_sse_c(
                HeadSpec(
                    num_classes,
                    num_features,
                    self.sparsity,
                    self.head_norm,
                    self.head_steps,
                    self.head_learning_rate,
                    seed,
                )
            )
        generator = torch_generator(seed, "sse-c")
        if self.head in DENSE_FRAMES:
            return self.head_norm * dense_etf(num_classes, num_features, generator)
        if self.head == "sparse-random":
            return initial * random_mask(num_classes, num_features, self.sparsity, generator)
        return initial

    @property
    def trains_head(self) -> bool:
        """Whether the model's own head is averaged like the rest."""
        return self.head == "learnable"

    def variants(self, model: Tensors) -> dict[str, Tensors]:
        """Return psi as it is and realigned, instead of the model's head."""
        realigned = realign_globally(self.global_head, self.kappa)
        heads = {
            "global_head": self.global_head,
            "realigned": realigned,
            "realigned_unit_norm": realign_globally(self.global_head, 1.0),
            "realigned_without_bias": without_bias(realigned),
        }
        return {name: model_entries(head) for name, head in heads.items()}

    def broadcast(self, server_round: int) -> Payload:
        """Send psi."""
        return {"head": self.global_head}

    def transform_reply(self, sections: Payload) -> Payload:
        """Leave out the model's head, and add psi's rows times the class counts."""
        return self.scaled(super().transform_reply(sections), sections["head"])

    def update(self, averages: Payload, server_round: int) -> Tensors:
        """Take the averages of the backbone and of psi."""
        old, mean = self.global_head, self.by_class(averages, averages["head"])
        self.global_head = {name: value.to(old[name].dtype) for name, value in mean.items()}
        return averages[ARRAYS]

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send psi as well, which personalised predictions use."""
        content = RecordDict({ARRAYS: arrays, "head": to_record(self.global_head), CONFIG: config})
        return self.build_messages(content, MessageType.EVALUATE, grid)
