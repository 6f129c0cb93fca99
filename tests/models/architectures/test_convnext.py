"""ConvNeXt against the blocks of torchvision, and its normalisations."""

import pytest
import torch
from torch import nn

from common.errors import UserError
from models import build_model
from models.architectures.convnext import ConvNeXtBlock
from models.architectures.layers import ChannelNorm


def test_a_block_is_that_of_torchvision() -> None:
    convnext = pytest.importorskip("torchvision.models.convnext")
    theirs = convnext.CNBlock(6, 0.5, 0.0, nn.LayerNorm)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(parameter.numel()))
    ours = ConvNeXtBlock(6, ChannelNorm)
    values = dict(theirs.named_parameters())
    names = {"depthwise": "block.0", "norm": "block.2", "expand": "block.3", "project": "block.5"}
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            module, _, entry = name.partition(".")
            value = values[f"{names[module]}.{entry}" if entry else "layer_scale"]
            parameter.copy_(value.view(parameter.shape))
        ours.norm.eps = theirs.block[2].eps
        images = torch.rand(2, 6, 9, 9, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-5)


def test_sides_halve_and_channels_double() -> None:
    model = build_model("convnext", (1, 8, 8), 3, {"width": 4, "depth": 1, "stages": 3}).eval()
    shapes, x = [], model.stem(torch.rand(1, 1, 8, 8))
    shapes.extend(tuple((x := stage(x)).shape[1:]) for stage in model.stages)
    assert shapes == [(4, 4, 4), (8, 2, 2), (16, 1, 1)]
    assert model.features(torch.rand(2, 1, 8, 8)).shape == (2, 16)
    with pytest.raises(UserError, match="at least 16x16 pixels"):
        build_model("convnext", (1, 8, 8), 3, {"stages": 4})
    with pytest.raises(UserError, match=r"model\.groups of 'convnext' must divide 6 channels"):
        build_model("convnext", (1, 8, 8), 3, {"width": 6, "norm": "group"})
