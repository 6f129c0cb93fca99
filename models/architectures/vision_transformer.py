"""Vision transformers (Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021), as in timm.

Chan et al. (ICLR 2024, section 5.1 and table 8) split them by layers: a smaller model has the first blocks of
the largest one, and everything outside the blocks. So an entry ``blocks.<b>.*`` belongs to every model deeper
than b, and every other entry to all.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.errors import UserError
from models.architectures.layers import Dropout
from models.classifier import Classifier
from models.sizes.submodels import Splittable, keep_blocks

_EPSILON = 1e-6
_BLOCKS = "blocks."


class Attention(nn.Module):
    """Multi-head self-attention with one projection to queries, keys and values.

    Parameters
    ----------
    width : int
        Size of a token; the heads divide it.
    heads : int
        Number of heads.
    dropout : float
        Dropout probability of the output.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return the attended tokens (batch, tokens, width)."""
        batch, tokens, width = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads)
        queries, keys, values = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        attended = F.scaled_dot_product_attention(queries, keys, values)
        projected: Tensor = self.dropout(self.proj(attended.transpose(1, 2).reshape(batch, tokens, width)))
        return projected


class Mlp(nn.Module):
    """Two linear layers around a GELU."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.dropout1 = Dropout(dropout)
        self.fc2 = nn.Linear(hidden, width)
        self.dropout2 = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens of the same shape."""
        hidden = self.dropout1(F.gelu(self.fc1(x)))
        result: Tensor = self.dropout2(self.fc2(hidden))
        return result


class Block(nn.Module):
    """Attention and a feed-forward network, each after a normalisation and parallel to a shortcut."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=_EPSILON)
        self.attn = Attention(width, heads, dropout)
        self.norm2 = nn.LayerNorm(width, eps=_EPSILON)
        self.mlp = Mlp(width, 4 * width, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens of the same shape."""
        x = x + self.attn(self.norm1(x))
        attended: Tensor = x + self.mlp(self.norm2(x))
        return attended


class PatchEmbedding(nn.Module):
    """Cuts an image into patches and projects each to a token."""

    def __init__(self, channels: int, width: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch_size, patch_size)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, patches, width), patches by rows."""
        tokens: Tensor = self.proj(x).flatten(2).transpose(1, 2)
        return tokens


class VisionTransformer(Splittable):
    """A class token, learned positions, blocks, a normalisation; the features are the class token's.

    Initialised as in timm: linear layers from a normal distribution with standard deviation 0.02, truncated
    at +-2, and zero biases.

    Parameters
    ----------
    input_shape : tuple of int
        Channels, height and width; `patch_size` divides both sides.
    num_classes : int
        Number of classes.
    patch_size, width, depth, heads : int
        Side of a patch, size of a token, number of blocks, heads of a block.
    dropout : float, default 0
        Probability, after the positions and after every linear layer except queries, keys and values.

    Attributes
    ----------
    remarks : tuple of str
        Notes for the user on the initial weights.
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        num_classes: int,
        *,
        patch_size: int,
        width: int,
        depth: int,
        heads: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels, rows, columns = input_shape
        self.remarks: tuple[str, ...] = ()
        self.grid = (rows // patch_size, columns // patch_size)
        self.patch_embed = PatchEmbedding(channels, width, patch_size)
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + self.grid[0] * self.grid[1], width))
        self.dropout = Dropout(dropout)
        self.blocks = nn.Sequential(*(Block(width, heads, dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=_EPSILON)
        self.classifier = nn.Linear(width, num_classes)
        nn.init.normal_(self.cls_token, std=1e-6)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def features(self, x: Tensor) -> Tensor:
        """Return the class token after the last normalisation, of shape (batch, width)."""
        patches = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), patches], dim=1)
        x = self.blocks(self.dropout(x + self.pos_embed))
        features: Tensor = self.norm(x)[:, 0]
        return features

    def size_name(self, text: str) -> str:
        """Return the name of a size: ``depth8`` for ``8`` or ``depth8``, the first eight blocks.

        Raises
        ------
        UserError
            If it is not a number of blocks between 1 and this model's depth.
        """
        number = text.removeprefix("depth")
        if not number.isdecimal() or not 1 <= int(number) <= len(self.blocks):
            raise UserError(
                f"model.sizes: there is no size '{text}': give numbers of blocks from 1 to"
                f" {len(self.blocks)}; a transformer cannot be made narrower"
            )
        return f"depth{int(number)}"

    def submodel(self, size: str) -> Classifier:
        """Return a copy with only the first blocks, and everything else."""
        return keep_blocks(self, {"blocks": int(size.removeprefix("depth"))})


def names_of_depth(names: Iterable[str], depth: int) -> list[str]:
    """Return the entries that a vision transformer with only the first `depth` blocks has, in order."""
    return [name for name in names if not name.startswith(_BLOCKS) or int(name.split(".")[1]) < depth]
