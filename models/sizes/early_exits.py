"""Models with early exits: heads behind inner blocks, at which sub-models of less depth end.

Ilhan, Su and Liu, "ScaleFL: Resource-Adaptive Federated Learning with Heterogeneous Clients", CVPR 2023.
"""

import re
from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.errors import UserError
from models.architectures.residual import NormFactory
from models.sizes.submodels import Splittable


class Scaler(nn.Module):
    """Divides by the relative width of a sub-model (HeteroFL, section 3.2).

    Parameters
    ----------
    rate : float
        Width relative to the server's model.
    always : bool, default False
        Whether to scale in evaluation mode, too (ScaleFL), instead of only in training mode (HeteroFL).
    """

    def __init__(self, rate: float, always: bool = False) -> None:
        super().__init__()
        self.rate = rate
        self.always = always

    def forward(self, x: Tensor) -> Tensor:
        """Return x / rate; in evaluation mode x itself, unless ``always``."""
        return x / self.rate if (self.training or self.always) and self.rate != 1 else x


class ExitHead(nn.Module):
    """Three 3x3 convolutions, each followed by scaler, normalisation and ReLU, pooling and a linear layer."""

    def __init__(self, channels: int, num_classes: int, norm: NormFactory, scaler: Scaler) -> None:
        super().__init__()
        for number in (1, 2, 3):
            conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            self.add_module(f"conv{number}", conv)
            self.add_module(f"bn{number}", norm(channels))
        self.scaler = scaler
        self.classifier = nn.Linear(channels, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the channels after the convolutions, averaged over the image."""
        for number in (1, 2, 3):
            conv, norm = self.get_submodule(f"conv{number}"), self.get_submodule(f"bn{number}")
            x = F.relu(norm(self.scaler(conv(x))))
        return x.mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.classifier(self.features(x))
        return logits


class MultiExit(Splittable):
    """A model that can have early exits; its *levels* are the exits, from 1, and the whole model last."""

    @property
    @abstractmethod
    def num_levels(self) -> int:
        """Number of heads: 1 without early exits."""

    @abstractmethod
    def outputs(self, x: Tensor) -> list[Tensor]:
        """Return the logits of every head in ascending depth; the model's own head is the last."""


def level_and_width(text: str, num_levels: int) -> tuple[int, float] | None:
    """Parse a size ``d2w0.7``, the part up to the second head at 0.7 of the width; None for other forms.

    Raises
    ------
    UserError
        If there is no such level, or the width is not above 0 and at most 1.
    """
    match = re.fullmatch(r"d(\d+)(?:w(\d*\.?\d+))?", text)
    if match is None:
        return None
    level, rate = int(match[1]), float(match[2] or 1)
    if not 1 <= level <= num_levels:
        raise UserError(
            f"model.sizes: '{text}' ends at head {level}, but the model has {num_levels}: model.exits lists"
            " the blocks behind which there is an early one"
        )
    if not 0 < rate <= 1:
        raise UserError(f"model.sizes: a width is above 0 and at most 1, not '{text}'")
    return level, rate


class _Outputs(nn.Module):
    """A view of a model whose forward pass is ``outputs``."""

    def __init__(self, model: MultiExit) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.model.outputs(x)


def outputs_with(model: MultiExit, state: Mapping[str, Tensor], x: Tensor) -> list[Tensor]:
    """Return the logits of every head with the entries of `state` instead of the model's own."""
    renamed = {f"model.{name}": value for name, value in state.items()}
    result: list[Tensor] = torch.func.functional_call(_Outputs(model), renamed, (x,))
    return result
