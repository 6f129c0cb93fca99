"""Architectures down to the order of their layers: logits of given weights (float64).

O-11 of the Local SGD specification: parameter number t in the order of the forward pass has the elements
u_i = sin(0.37 i + t), scaled by sqrt(4 / fan_in); weights of normalisations are 1 + 0.1 u, biases 0.1 u.
"""

import math

import pytest
import torch
from torch import nn

from models import build_model

ICLR_2023 = {"shortcut": "A-centred", "initialisation": "fan-in"}


def prescribe(model: nn.Module) -> None:
    for t, (name, param) in enumerate(model.named_parameters()):
        u = torch.sin(0.37 * torch.arange(param.numel(), dtype=torch.float64) + t).view(param.shape)
        with torch.no_grad():
            if param.dim() > 1:
                param.copy_(math.sqrt(4 / param[0].numel()) * u)
            else:
                param.copy_(0.1 * u + (0 if name.endswith("bias") else 1))


@pytest.mark.parametrize(
    ("name", "num_classes", "parameters", "expected"),
    [
        (
            "resnet20",
            10,
            ICLR_2023,
            "1697.785312, 1874.291222, -1256.115450, -2170.051920, 745.022704, 2345.585059, -192.517596,"
            "-2391.017234, -370.843109, 2303.505058",
        ),
        (
            "resnet20",
            10,
            {**ICLR_2023, "norm": "group", "groups": 8, "activation": "silu"},
            "0.957409, 2.650709, -0.175179, -2.559437, -0.338414, 2.513721, 0.904639, -2.382942, -1.593554,"
            "1.851978",
        ),
        (
            "resnet20",
            10,
            {**ICLR_2023, "norm": "group", "groups": 4, "activation": "silu"},
            "1.572221, 3.600038, -0.566365, -3.600914, -0.192560, 3.589556, 1.012211, -3.433437, -1.948584,"
            "2.818842",
        ),
        (
            "vgg11",
            10,
            {},
            "0.510229, -0.514912, -1.182846, -0.933840, 0.041364, 0.957330, 1.081033, 0.335126, -0.641432,"
            "-1.025117",
        ),
        (
            "torchvision:resnet18",
            1000,
            {},
            "1.009211, -1.531615, -2.873680, -1.898902, 0.601679, 2.580448, 2.424874, 0.288655, -2.038859,"
            "-2.616443",
        ),
    ],
    ids=["resnet20", "resnet20-gn8", "resnet20-gn4", "vgg11", "torchvision-resnet18"],
)
def test_logits(name: str, num_classes: int, parameters: dict[str, object], expected: str) -> None:
    model = build_model(name, (3, 32, 32), num_classes, parameters).double().eval()
    prescribe(model)
    inputs = torch.sin(0.1 * torch.arange(3 * 32 * 32, dtype=torch.float64)).view(1, 3, 32, 32)
    with torch.no_grad():
        logits = model(inputs)[0, :10].tolist()
    # The table has six decimals.
    assert logits == pytest.approx([float(value) for value in expected.split(",")], rel=1e-5, abs=6e-7)
