"""Small models of 8x8 images as a user would write them, each with randomness of another kind."""

import random
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torchvision.ops import DropBlock2d, StochasticDepth


class Between(nn.Module):
    """A convolution, a random layer on its (samples, 4, 8, 8) output, and a linear head."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.layer = layer
        self.classifier = nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.layer(self.conv(x)).flatten(1))
        return logits


class Function(nn.Module):
    """A layer made of a function."""

    def __init__(self, function: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


class Rows(nn.Module):
    """A layer that sees the eight rows of an image as a sequence, and its output as (samples, 4, 8, 8)."""

    def __init__(self, layer: nn.Module, kind: str) -> None:
        super().__init__()
        self.layer, self.kind = layer, kind

    def forward(self, x: Tensor) -> Tensor:
        rows = x.transpose(1, 2).flatten(2)
        if self.kind == "attention":
            return self.layer(rows, rows, rows)[0]  # type: ignore[no-any-return]
        output = self.layer(rows)
        return output[0] if self.kind == "recurrent" else output


class Checkpointed(nn.Module):
    """Dropout whose forward pass is repeated in the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.layer, x, use_reentrant=False)  # type: ignore[return-value]


class OwnGenerator(nn.Module):
    """Noise from a generator that the layer made."""

    def __init__(self) -> None:
        super().__init__()
        self.torch, self.numpy = torch.Generator(), np.random.default_rng(0)
        self.python, self.legacy = random.Random(0), np.random.RandomState(0)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        scale = self.python.random() + self.numpy.random() + self.legacy.rand()
        return x + scale * torch.rand(x.shape, generator=self.torch)


def drop_path(layer: nn.Module, x: Tensor) -> Tensor:
    """Drop whole samples, as timm and many papers' codes do."""
    if not layer.training:
        return x
    return x * (0.5 + torch.rand(len(x), 1, 1, 1)).floor() / 0.5


def now_and_then(layer: nn.Module, x: Tensor) -> Tensor:
    """Draw from Python's generator whether to draw from torch's."""
    return F.dropout(x) if layer.training and random.random() < 0.5 else x


def numpy_noise(layer: nn.Module, x: Tensor) -> Tensor:
    """Add noise from NumPy's global generator."""
    return (
        x
        + torch.from_numpy(np.random.mtrand._rand.standard_normal(x.shape).astype(np.float32))
        * layer.training
    )


def always(layer: nn.Module, x: Tensor) -> Tensor:
    """Drop in evaluation mode, too."""
    return F.dropout(x)


def gumbel(layer: nn.Module, x: Tensor) -> Tensor:
    """Sample from a relaxed categorical distribution."""
    return F.gumbel_softmax(x, dim=1) if layer.training else x.softmax(dim=1)


KINDS: dict[str, Callable[[], nn.Module]] = {
    "Dropout": nn.Dropout,
    "Dropout1d": lambda: nn.Sequential(nn.Flatten(2), nn.Dropout1d()),
    "Dropout2d": nn.Dropout2d,
    "Dropout3d": lambda: nn.Sequential(nn.Unflatten(1, (2, 2)), nn.Dropout3d()),
    "AlphaDropout": nn.AlphaDropout,
    "FeatureAlphaDropout": nn.FeatureAlphaDropout,
    "RReLU": nn.RReLU,
    "MultiheadAttention": lambda: Rows(
        nn.MultiheadAttention(32, 2, dropout=0.3, batch_first=True), "attention"
    ),
    "TransformerEncoderLayer": lambda: Rows(
        nn.TransformerEncoderLayer(32, 2, 16, dropout=0.3, batch_first=True), "transformer"
    ),
    "LSTM": lambda: Rows(nn.LSTM(32, 32, num_layers=2, dropout=0.3, batch_first=True), "recurrent"),
    "GRU": lambda: Rows(nn.GRU(32, 32, num_layers=2, dropout=0.3, batch_first=True), "recurrent"),
    "StochasticDepth": lambda: StochasticDepth(0.5, "row"),
    "DropBlock2d": lambda: DropBlock2d(0.3, 3),
    "drop-path": lambda: Function(drop_path),
    "now-and-then": lambda: Function(now_and_then),
    "numpy": lambda: Function(numpy_noise),
    "in-evaluation": lambda: Function(always),
    "gumbel": lambda: Function(gumbel),
    "checkpointed": Checkpointed,
    "own-generator": OwnGenerator,
}
