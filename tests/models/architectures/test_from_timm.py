"""timm's models; without timm only the line that says so."""

import importlib.util
import sys

import pytest
import torch
from torch import nn

from common.errors import UserError
from models import build_model
from models.architectures.layers import StochasticDepth, dropout_layers, set_dropout_generator
from models.batch_norm import batch_norm_layers

needs_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")


def test_without_timm_the_message_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"needs timm, which is not installed: pip install '\.\[timm\]'"):
        build_model("timm:resnet18", (3, 32, 32), 10)


@needs_timm
@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet", "test_convnext"])
@pytest.mark.parametrize("channels", [1, 3])
def test_small_models(name, channels):
    before = torch.get_rng_state()
    model = build_model(f"timm:{name}", (channels, 32, 32), 7)
    again = build_model(f"timm:{name}", (channels, 32, 32), 7).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in model.state_dict().items())
    images = torch.rand(2, channels, 32, 32, generator=torch.Generator().manual_seed(0))
    set_dropout_generator(model, torch.Generator().manual_seed(1))

    assert isinstance(model.classifier, nn.Linear)
    assert model(images).shape == (2, 7)
    assert torch.equal(torch.get_rng_state(), before)
    features = model.eval().features(images)
    torch.testing.assert_close(model.classifier(features), model(images))


@needs_timm
def test_group_normalisation_keeps_the_activations():
    model = build_model("timm:test_efficientnet", (3, 32, 32), 7, {"norm": "group"})
    batch = build_model("timm:test_efficientnet", (3, 32, 32), 7)

    def activations(of):
        return [type(layer) for layer in of.modules() if isinstance(layer, nn.SiLU | nn.ReLU)]

    assert not batch_norm_layers(model)
    assert activations(model) == activations(batch) != []


@needs_timm
def test_drop_path_is_keyed():
    from timm.layers import DropPath

    from models.architectures.from_timm import _keyed

    layer = _keyed(DropPath(0.25))
    assert (type(layer), layer.p) == (StochasticDepth, 0.25)
    assert not dropout_layers(nn.Sequential(DropPath(0.25)))


@needs_timm
@pytest.mark.parametrize(
    ("name", "side", "message"),
    [
        ("resnet18x", 32, "timm has no model 'resnet18x'; did you mean 'resnet18'?"),
        ("hf-hub:someone/model", 32, "timm has no model"),
        ("test_vit", 28, "dataset.image-size"),
        ("inception_v3", 32, "set dataset.image-size, for instance to 96"),
        ("levit_128s", 32, "does not end in one linear layer"),
        ("ghostnet_050", 32, "draws from torch's global generator"),
    ],
)
def test_refusals(name, side, message):
    with pytest.raises(UserError) as caught:
        build_model(f"timm:{name}", (3, side, side), 10)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
