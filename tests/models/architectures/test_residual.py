"""Details of the residual networks that a parameter count does not show."""

import pytest
import torch
from torch import nn

from common.errors import UserError
from models import build_model
from models.architectures.residual import ZeroPadShortcut


def modules_of(model, kind):
    return [module for module in model.modules() if isinstance(module, kind)]


def test_zero_pad_shortcut_subsamples_and_appends_zero_channels():
    images = torch.arange(16.0).reshape(1, 1, 4, 4)

    padded = ZeroPadShortcut(extra_channels=1, stride=2)(images)

    assert padded.tolist() == [[[[0, 2], [8, 10]], [[0, 0], [0, 0]]]]


def test_centred_zero_pad_shortcut():
    """O-12 of the Local SGD specification."""
    images = torch.arange(32.0).reshape(1, 2, 4, 4)

    padded = ZeroPadShortcut(extra_channels=2, stride=2, centred=True)(images)

    assert padded.shape == (1, 4, 2, 2)
    assert padded[0, :, 0, 0].tolist() == [0, 0, 16, 0]
    assert padded[0, :, 1, 1].tolist() == [0, 10, 26, 0]


def test_initialisation_by_fan_in():
    model = build_model("resnet20", (3, 32, 32), 10, {"initialisation": "fan-in", "shortcut": "B"})
    conv = model.stages[2][0].conv1.weight  # 32 -> 64 channels, so fan-in and fan-out differ
    assert conv.std().item() == pytest.approx((2 / (9 * 32)) ** 0.5, rel=0.05)
    assert model.classifier.weight.std().item() == pytest.approx(0.01, rel=0.15)
    assert not model.classifier.bias.any()


@pytest.mark.parametrize(("name", "depth"), [("resnet18", 18), ("resnet34", 34), ("resnet20", 20)])
def test_depth_is_in_the_name(name, depth):
    convolutions = modules_of(build_model(name, (3, 32, 32), 10), nn.Conv2d)

    assert sum(convolution.kernel_size == (3, 3) for convolution in convolutions) + 1 == depth
    assert all(convolution.bias is None for convolution in convolutions)


def test_stages_halve_the_image_and_double_the_channels():
    model = build_model("resnet18", (3, 32, 32), 10, {"width": 4})
    x = model.norm1(model.conv1(torch.rand(2, 3, 32, 32)))
    shapes = []
    for stage in model.stages:
        x = stage(x)
        shapes.append(tuple(x.shape[1:]))

    assert shapes == [(4, 32, 32), (8, 16, 16), (16, 8, 8), (32, 4, 4)]


def test_group_normalisation_replaces_every_batch_normalisation():
    model = build_model("resnet20", (3, 32, 32), 10, {"norm": "group", "shortcut": "B"})

    assert not modules_of(model, nn.BatchNorm2d)
    assert not list(model.buffers())
    assert {(norm.num_groups, norm.eps) for norm in modules_of(model, nn.GroupNorm)} == {(2, 1e-5)}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"norm": "instance"}, "model.norm must be 'batch', 'group', 'layer' or 'none'"),
        ({"shortcut": "C"}, "model.shortcut must be 'A', 'A-centred' or 'B'"),
        ({"norm": "group", "groups": 3}, "must divide 16 channels"),
        ({"norm": "group", "groups": 0}, "must be greater than 0"),
    ],
)
def test_impossible_parameters(parameters, message):
    with pytest.raises(UserError, match=message):
        build_model("resnet20", (3, 32, 32), 10, parameters)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet18", {}),
        ("resnet20", {}),
        ("stage-resnet", {"width": 16}),
        ("torchvision:resnet18", {}),
    ],
)
def test_torchs_own_initialisation(name, parameters):
    """U(-1 / sqrt(fan-in), 1 / sqrt(fan-in)), so of standard deviation 1 / sqrt(3 fan-in)."""
    torch.manual_seed(0)
    model = build_model(name, (3, 32, 32), 10, {**parameters, "initialisation": "torch"})
    convolutions = [layer for layer in model.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert len(convolutions) > 15
    for layer in convolutions:
        bound = layer.weight[0].numel() ** -0.5
        assert layer.weight.abs().max() <= bound
        if layer.weight.numel() > 1000:
            assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            assert (layer.weight == 1).all()
            assert (layer.bias == 0).all()


def test_other_models_of_a_library_have_one_initialisation():
    with pytest.raises(UserError, match=r"model\.initialisation = 'torch' is for ResNets"):
        build_model("torchvision:vgg11", (3, 32, 32), 10, {"initialisation": "torch"})
