"""Outputs of stages and blocks."""

import torch

from models import build_model
from models.measures.representations import layer_outputs, layers_to_compare

IMAGES = torch.rand(70, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_stages_of_a_residual_network():
    model = build_model("resnet20", (3, 32, 32), 7).train()
    outputs = layer_outputs(model, IMAGES, layers_to_compare(model))
    assert {name: tuple(value.shape) for name, value in outputs.items()} == {
        "stages.0": (70, 16 * 32 * 32),
        "stages.1": (70, 32 * 16 * 16),
        "stages.2": (70, 64 * 8 * 8),
    }
    assert model.training
    model.eval()
    last = outputs["stages.2"].view(70, 64, 8, 8).mean((2, 3))
    torch.testing.assert_close(last[:64], model.features(IMAGES[:64]).detach())
    assert layer_outputs(model, IMAGES, layers_to_compare(model)).keys() == outputs.keys()
    assert not any(module._forward_hooks for module in model.modules())


def test_blocks_of_a_transformer():
    parameters = {"depth": 3, "width": 24, "heads": 3, "patch-size": 8}
    model = build_model("vit-small", (3, 32, 32), 7, parameters).eval()
    outputs = layer_outputs(model, IMAGES[:5], layers_to_compare(model))
    assert list(outputs) == ["blocks.0", "blocks.1", "blocks.2"]
    tokens = model.norm(outputs["blocks.2"].view(5, 17, 24))
    torch.testing.assert_close(tokens[:, 0], model.features(IMAGES[:5]))


def test_library_models():
    model = build_model("torchvision:resnet18", (3, 64, 64), 7)
    assert layers_to_compare(model) == [f"body.layer{stage}" for stage in (1, 2, 3, 4)]
    assert layer_outputs(model, torch.rand(2, 3, 64, 64), ["body.layer4"])["body.layer4"].shape == (
        2,
        512 * 4,
    )


def test_other_models_have_their_features():
    model = build_model("mlp", (3, 32, 32), 7).eval()
    assert layers_to_compare(model) == ["features"]
    outputs = layer_outputs(model, IMAGES, ["features"])
    torch.testing.assert_close(outputs["features"], model.features(IMAGES).detach())
