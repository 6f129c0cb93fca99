"""Our vision transformer against torchvision's, its sub-models, and files of weights."""

import functools
import re

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from common.errors import UserError
from models import build_model
from models.architectures.layers import dropout_layers, set_dropout_generator
from models.architectures.vision_transformer import VisionTransformer, names_of_depth
from strategies._inco_targets import inco_targets

SMALL = {"depth": 4, "width": 24, "heads": 3, "patch-size": 8}


def small(side=32, channels=3, num_classes=7, **parameters):
    return build_model("vit-small", (channels, side, side), num_classes, {**SMALL, **parameters})


def images(side=32, channels=3):
    return torch.rand(2, channels, side, side, generator=torch.Generator().manual_seed(0))


def test_same_function_as_torchvision_with_the_same_weights():
    ours = small().eval()
    theirs = torchvision.models.VisionTransformer(
        32, 8, 4, 3, 24, 96, num_classes=7, norm_layer=functools.partial(nn.LayerNorm, eps=1e-6)
    ).eval()
    layer = r"blocks\.(\d+)\."
    renames = [
        (r"cls_token", "class_token"), (r"pos_embed", "encoder.pos_embedding"),
        (r"patch_embed\.proj", "conv_proj"), (r"norm\.(weight|bias)", r"encoder.ln.\1"),
        (r"classifier\.", "heads.head."), (layer + r"norm(\d)", r"encoder.layers.encoder_layer_\1.ln_\2"),
        (layer + r"attn\.qkv\.", r"encoder.layers.encoder_layer_\1.self_attention.in_proj_"),
        (layer + r"attn\.proj", r"encoder.layers.encoder_layer_\1.self_attention.out_proj"),
        (layer + r"mlp\.fc1", r"encoder.layers.encoder_layer_\1.mlp.0"),
        (layer + r"mlp\.fc2", r"encoder.layers.encoder_layer_\1.mlp.3"),
    ]  # fmt: skip

    def renamed(name):
        for pattern, replacement in renames:
            if re.match(pattern, name):
                return re.sub("^" + pattern, replacement, name)
        raise AssertionError(name)

    generator = torch.Generator().manual_seed(1)
    state = {name: 0.3 * torch.randn(v.shape, generator=generator) for name, v in ours.state_dict().items()}
    ours.load_state_dict(state)
    theirs.load_state_dict({renamed(name): value for name, value in state.items()})
    torch.testing.assert_close(ours(images()), theirs(images()), rtol=1e-4, atol=1e-5)


def test_initial_weights_are_those_of_timm():
    state = build_model("vit-small", (3, 32, 32), 10, {"depth": 2}).state_dict()
    weight = state["blocks.1.mlp.fc1.weight"]
    assert float(weight.std()) == pytest.approx(0.02, rel=0.02)
    assert float(state["pos_embed"].std()) == pytest.approx(0.02, rel=0.1)
    assert float(state["cls_token"].abs().max()) < 1e-5
    biases = [name for name in state if re.search(r"(qkv|proj|fc\d|classifier)\.bias", name)]
    assert len(biases) == 2 * 4 + 2
    assert all(state[name].count_nonzero() == 0 for name in biases if "patch" not in name)


def test_a_smaller_model_is_the_first_blocks_of_a_larger_one():
    model = small().eval()
    part = model.submodel(model.size_name("2")).eval()
    assert list(part.state_dict()) == names_of_depth(model.state_dict(), 2)
    assert list(part.state_dict()) == list(small(depth=2).state_dict())
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in part.state_dict().items())
    x = model.patch_embed(images())
    x = torch.cat([model.cls_token.expand(2, -1, -1), x], 1) + model.pos_embed
    x = model.norm(model.blocks[1](model.blocks[0](x)))[:, 0]
    torch.testing.assert_close(part(images()), model.classifier(x))
    with torch.no_grad():
        part.classifier.bias.add_(1)
    assert model.classifier.bias.count_nonzero() == 0
    assert len(model.blocks) == 4


def test_holders_of_the_five_sizes():
    with torch.device("meta"):
        largest = VisionTransformer((3, 224, 224), 10, patch_size=16, width=384, depth=12, heads=6)
    sizes = [names_of_depth(largest.state_dict(), depth) for depth in range(8, 13)]
    for block, holders in {0: 5, 7: 5, 8: 4, 9: 3, 10: 2, 11: 1}.items():
        assert sum(f"blocks.{block}.norm1.weight" in names for names in sizes) == holders
    assert all({"cls_token", "pos_embed", "norm.weight", "classifier.weight"} < set(names) for names in sizes)


def test_sizes_have_one_name():
    model = small()
    assert model.size_name("3") == model.size_name("depth3") == "depth3"
    for text in ("0", "5", "x", "depth", "-1", "3.0"):
        with pytest.raises(UserError, match="numbers of blocks from 1 to 4"):
            model.size_name(text)


def test_targets_of_inco():
    entries = {name: tuple(value.shape) for name, value in small().state_dict().items()}
    assert inco_targets(entries) == {
        f"blocks.{block}.norm2.weight": f"blocks.{block}.norm1.weight" for block in range(4)
    }


def test_dropout_is_keyed():
    model = small(dropout=0.5).train()
    assert len(dropout_layers(model)) == 1 + 3 * 4
    outputs = []
    for seed in (0, 0, 1):
        set_dropout_generator(model, torch.Generator().manual_seed(seed))
        outputs.append(model(images()))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


@pytest.mark.parametrize(
    ("shape", "parameters", "message"),
    [
        ((3, 28, 28), {}, "set dataset.image-size = 32, or model.patch-size"),
        ((3, 32, 24), {}, "divides, not 32x24"),
        ((3, 32, 32), {"heads": 5}, "model.heads of 'vit-small' must divide model.width = 384"),
        ((80,), {}, "takes images"),
        ((3, 32, 32), {"weights": "nowhere.safetensors"}, "there is no file 'nowhere.safetensors'"),
    ],
)
def test_refusals(shape, parameters, message):
    with pytest.raises(UserError, match=re.escape(message)):
        build_model("vit-small", shape, 10, parameters)


class TestWeights:
    @pytest.fixture
    def path(self, tmp_path):
        """Weights as timm has them: five classes, six blocks, 16 patches."""
        state = small(num_classes=5, depth=6).state_dict()
        generator = torch.Generator().manual_seed(5)
        state = {name: torch.randn(value.shape, generator=generator) for name, value in state.items()}
        renamed = {name.replace("classifier", "head"): value for name, value in state.items()}
        save_file(renamed, tmp_path / "weights.safetensors")
        return str(tmp_path / "weights.safetensors"), state

    def test_all_but_deeper_blocks_and_another_head(self, path):
        file, state = path
        model = small(weights=file)
        random = small()
        for name, value in model.state_dict().items():
            expected = random.state_dict()[name] if name.startswith("classifier") else state[name]
            assert torch.equal(value, expected)
        assert "keeps its random weights" in model.remarks[0]
        assert "7 classes" in model.remarks[0]

    def test_the_head_of_as_many_classes(self, path):
        file, state = path
        model = small(num_classes=5, depth=6, weights=file)
        assert model.remarks == ()
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())

    def test_other_images(self, path):
        file, state = path
        model = small(side=48, channels=1, weights=file)
        torch.testing.assert_close(
            model.patch_embed.proj.weight.detach(), state["patch_embed.proj.weight"].sum(1, keepdim=True)
        )
        assert model.pos_embed.shape == (1, 1 + 36, 24)
        assert torch.equal(model.pos_embed[:, :1], state["pos_embed"][:, :1])
        # A corner stays nearly the corner, and means are kept.
        means = [positions[:, 1:].mean(1) for positions in (model.pos_embed, state["pos_embed"])]
        torch.testing.assert_close(*means, rtol=0, atol=0.1)

    def test_misfits(self, path, tmp_path):
        file, state = path
        with pytest.raises(UserError, match=r"does not fit model 'vit-small': it lacks 'blocks.6"):
            small(depth=7, weights=file)
        with pytest.raises(UserError, match=r"is \(24,\) there and \(48,\) in the model|\(.*24.*\) there"):
            small(width=48, weights=file)
        save_file({**state, "extra": torch.ones(1)}, tmp_path / "extra.safetensors")
        with pytest.raises(UserError, match="the model has no 'extra'"):
            small(weights=str(tmp_path / "extra.safetensors"))
