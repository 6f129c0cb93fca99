"""A small Swin transformer: which pixels a patch sees, and what is refused."""

import pytest
import torch

from common.errors import UserError
from models import build_model


def touched(depth_of_second: bool) -> torch.Tensor:
    """Return which of 4x4 patches change with the first one, after one block or after two."""
    model = build_model("swin-small", (3, 8, 8), 5, {"width": 8, "depth": 2, "stages": 1, "window": 2}).eval()
    patches, blocks = model.body.features[0], model.body.features[1]
    images = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    other = images.clone()
    other[..., :2, :2] += 1
    outputs = []
    for x in (patches(images), patches(other)):
        x = blocks[0](x)
        outputs.append(blocks[1](x) if depth_of_second else x)
    return (outputs[0] != outputs[1]).any(dim=-1)[0]


@torch.no_grad()
def test_a_patch_sees_its_window_and_after_the_second_block_those_that_the_moved_ones_touch():
    one, two = touched(False), touched(True)
    assert one.tolist() == [[True, True, False, False]] * 2 + [[False] * 4] * 2
    # Windows moved by one patch: those of rows and columns (0), (1, 2), (3), each seen by itself.
    assert two.tolist() == [[True, True, True, False]] * 3 + [[False] * 4]


def test_sides_halve_and_channels_double():
    model = build_model("swin-small", (1, 8, 8), 3, {"width": 4, "depth": 2, "stages": 3, "heads": 1})
    assert model.features(torch.rand(2, 1, 8, 8)).shape == (2, 16)


def test_what_does_not_fit_is_refused():
    with pytest.raises(UserError, match=r"model\.heads of 'swin-small' must divide model\.width = 9"):
        build_model("swin-small", (3, 8, 8), 3, {"width": 9})
    with pytest.raises(UserError, match="at least 16x16 pixels"):
        build_model("swin-small", (3, 8, 8), 3, {"stages": 4})
