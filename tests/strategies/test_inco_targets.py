"""Which layers InCo changes: by structure, whatever the names."""

import pytest
import torch
import torchvision
from torch import nn

from common.errors import UserError
from models import build_model
from strategies._inco_targets import inco_targets


def shapes(model):
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def resnet_entries(blocks):
    """Names and shapes of the paper's ResNet with n blocks per stage, as torchvision names them."""
    found = {"conv1.weight": (64, 3, 7, 7)} | norm("bn1", 64)
    inputs = 64
    for stage, (count, outputs) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True), start=1):
        for block in range(count):
            name = f"layer{stage}.{block}"
            found |= {f"{name}.conv1.weight": (outputs, inputs, 3, 3)} | norm(f"{name}.bn1", outputs)
            found |= {f"{name}.conv2.weight": (outputs, outputs, 3, 3)} | norm(f"{name}.bn2", outputs)
            if inputs != outputs:
                found[f"{name}.downsample.0.weight"] = (outputs, inputs, 1, 1)
                found |= norm(f"{name}.downsample.1", outputs)
            inputs = outputs
    return found | {"fc.weight": (10, 512), "fc.bias": (10,)}


def norm(name, width):
    kinds = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{kind}": (width,) for kind in kinds} | {f"{name}.num_batches_tracked": ()}


def test_the_largest_resnet_of_the_paper():
    entries = resnet_entries((3, 3, 3, 3))
    assert len(entries) == 170
    targets = inco_targets(entries)
    assert targets == {
        f"layer{stage}.{block}.conv{conv}.weight": f"layer{stage}.0.conv2.weight"
        for stage in (1, 2, 3, 4)
        for block in (1, 2)
        for conv in (1, 2)
    }
    assert sum(torch.Size(entries[name]).numel() for name in targets) == 12_533_760


def test_one_block_per_stage_leaves_nothing_to_do():
    entries = resnet_entries((1, 1, 1, 1))
    assert len(entries) == 74
    assert inco_targets(entries) == {}


def test_blocks_are_counted_and_not_recognised_by_their_digits():
    entries = {f"layer1.{block}.conv{i}.weight": (4, 4, 3, 3) for block in range(18) for i in (1, 2)}
    assert len(inco_targets(entries)) == 2 * 17
    assert inco_targets(entries)["layer1.17.conv2.weight"] == "layer1.0.conv2.weight"


def test_our_residual_networks():
    targets = inco_targets(shapes(build_model("resnet18", (3, 32, 32), 10, {"width": 4})))
    assert targets == {
        f"stages.{stage}.1.conv{conv}.weight": f"stages.{stage}.0.conv2.weight"
        for stage in range(4)
        for conv in (1, 2)
    }
    assert len(inco_targets(shapes(build_model("resnet20", (3, 32, 32), 10, {"shortcut": "B"})))) == 3 * 2 * 2


def test_torchvision():
    basic = inco_targets(shapes(build_model("torchvision:resnet18", (3, 64, 64), 10)))
    assert basic["body.layer3.1.conv1.weight"] == "body.layer3.0.conv2.weight"
    assert len(basic) == 8
    with torch.device("meta"):
        bottlenecks = torchvision.models.resnet50()
    found = inco_targets(shapes(bottlenecks))
    assert set(found) == {
        f"layer{s + 1}.{b}.conv2.weight" for s, n in enumerate((3, 4, 6, 3)) for b in range(1, n)
    }


def test_transformers_of_two_libraries():
    with torch.device("meta"):
        model = torchvision.models.VisionTransformer(16, 8, 3, 2, 12, 24)
    prefix = "encoder.layers.encoder_layer_"
    assert inco_targets(shapes(model)) == {
        f"{prefix}{i}.ln_2.weight": f"{prefix}{i}.ln_1.weight" for i in range(3)
    }
    with torch.device("meta"):
        layer = nn.TransformerEncoder(nn.TransformerEncoderLayer(12, 2, 24, batch_first=True), 2)
    assert inco_targets(shapes(layer)) == {
        f"layers.{i}.norm2.weight": f"layers.{i}.norm1.weight" for i in range(2)
    }


def test_exits_are_no_stages():
    exits = {
        f"exits.{number}.{name}": shape
        for number in range(3)
        for name, shape in {"conv1.weight": (4, 4, 3, 3), "fc.weight": (10, 4)}.items()
    }
    assert inco_targets({**resnet_entries((2, 1, 1, 1)), **exits}).keys() == {
        "layer1.1.conv1.weight",
        "layer1.1.conv2.weight",
    }


def test_blocks_of_another_width_are_left_alone():
    entries = {
        "stage.0.conv.weight": (8, 8, 3, 3), "stage.1.conv.weight": (8, 4, 3, 3),
        "stage.2.conv.weight": (8, 8, 3, 3), "stage.2.gate.weight": (8, 8, 1, 1),
    }  # fmt: skip
    assert inco_targets(entries) == {"stage.2.conv.weight": "stage.0.conv.weight"}


@pytest.mark.parametrize("name", ["mlp", "hsu-cnn", "small-cnn", "linear"])
def test_models_without_such_layers_are_refused(name):
    model = build_model(name, (3, 32, 32), 10)
    with pytest.raises(UserError, match="such as 'resnet18' or 'vit-small': this one has neither"):
        inco_targets(shapes(model))


def test_two_norms_make_no_transformer():
    body = nn.Sequential()
    body.add_module("block", nn.ModuleDict({"norm1": nn.LayerNorm(4), "norm2": nn.LayerNorm(4)}))
    with pytest.raises(UserError):
        inco_targets(shapes(body))
