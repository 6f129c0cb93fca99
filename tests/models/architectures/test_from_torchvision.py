"""torchvision's classifiers in the shape that ours have."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models as zoo
from torchvision.models import swin_transformer as swin

from common.errors import UserError
from models import build_model, model_parameters
from models.architectures.layers import Dropout, dropout_layers, set_dropout_generator
from models.architectures.library import LibraryClassifier
from models.batch_norm import batch_norm_layers
from tests.conftest import Runner

# One small model of each kind: dropout, stochastic depth, attention, a convolutional head, grouped stages.
KINDS = [
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "mnasnet0_5",
    "mobilenet_v3_small",
    "regnet_x_400mf",
    "resnet18",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_v2_t",
]


def build(
    name: str, shape: tuple[int, int, int] = (3, 32, 32), classes: int = 10, **options
) -> LibraryClassifier:
    model = build_model(f"torchvision:{name}", shape, classes, options, seed=4)
    assert isinstance(model, LibraryClassifier)
    return model


def error_of(*arguments, **options) -> str:
    with pytest.raises(UserError) as caught:
        build(*arguments, **options)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    return str(caught.value)


def without_dropout(model: nn.Module) -> nn.Module:
    model.train()
    for layer in model.modules():
        if isinstance(layer, nn.Dropout | Dropout):
            layer.eval()
    return model


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("resnet18", 11_689_512),
        ("mobilenet_v2", 3_504_872),
        ("convnext_tiny", 28_589_128),
        ("squeezenet1_1", 1_235_496),
        ("googlenet", 6_624_904),  # without the two auxiliary classifiers of the published 13,004,888
    ],
)
def test_published_parameter_counts(name, count):
    assert sum(p.numel() for p in build(name, classes=1000).parameters()) == count


@pytest.mark.parametrize("name", KINDS)
def test_training_depends_on_the_keyed_generator_alone(name):
    model = build(name)
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before = torch.get_rng_state()
    outputs = []
    for seed in (1, 1, 2):
        set_dropout_generator(model, torch.Generator().manual_seed(seed))
        torch.rand(seed)
        state = torch.get_rng_state()
        outputs.append(model(images))
        assert torch.equal(torch.get_rng_state(), state)
    torch.set_rng_state(before)

    assert outputs[0].shape == (3, 10)
    assert torch.equal(outputs[0], outputs[1])
    if any(layer.p > 0 for layer in dropout_layers(model)):
        assert not torch.equal(outputs[0], outputs[2])
    assert not any(isinstance(layer, nn.Dropout) for layer in model.modules())
    outputs[0].square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5"])
def test_head_and_body_are_split_by_name(name):
    model = build(name, classes=7).eval()
    images = torch.rand(2, 3, 32, 32)
    features = model.features(images)

    assert {key for key in model.state_dict() if key.startswith("classifier.")} == {
        "classifier.weight",
        "classifier.bias",
    }
    assert all(key.startswith(("body.", "classifier.")) for key in model.state_dict())
    assert isinstance(model.classifier, nn.Linear)
    assert features.shape == (2, model.classifier.in_features)
    torch.testing.assert_close(model.classifier(features), model(images))
    assert list(dict(model.named_children()))[-1] == "classifier"


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "densenet121", "googlenet"])
def test_the_function_is_torchvisions(name, tmp_path):
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    original = without_dropout(zoo.get_model(name, weights=None, num_classes=10, **options))
    torch.save(original.state_dict(), tmp_path / "weights.pth")
    model = without_dropout(build(name, weights=str(tmp_path / "weights.pth")))
    images = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    expected = original(images)
    assert expected.std(dim=0).max() > 1e-3  # batch statistics: the fresh running ones let little through
    torch.testing.assert_close(model(images), expected)
    assert model.remarks == ()


def test_weights_are_a_function_of_the_seed_and_the_global_generator_is_untouched():
    first = build("mobilenet_v3_small").state_dict()
    state = torch.get_rng_state()
    torch.rand(3)
    moved = torch.get_rng_state()
    second = build("mobilenet_v3_small").state_dict()
    other = build_model("torchvision:mobilenet_v3_small", (3, 32, 32), 10, seed=5).state_dict()

    assert torch.equal(torch.get_rng_state(), moved)
    assert not torch.equal(moved, state)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["body.features.0.0.weight"], other["body.features.0.0.weight"])


def test_grey_images_are_colour_images_of_equal_colours():
    grey, colour = build("resnet18", (1, 28, 28)).eval(), build("resnet18", (3, 28, 28)).eval()
    images = torch.rand(2, 1, 28, 28)

    assert grey.body.conv1.weight.shape == (64, 1, 7, 7)
    torch.testing.assert_close(grey(images), colour(images.expand(-1, 3, -1, -1)))


def test_group_normalisation_takes_the_place_of_batch_normalisation():
    model = build("resnet18", norm="group", groups=4)

    assert not batch_norm_layers(model)
    assert not list(model.buffers())
    assert {m.num_groups for m in model.modules() if isinstance(m, nn.GroupNorm)} == {4}
    assert "must divide 64 channels, not 5" in error_of("resnet18", norm="group", groups=5)
    assert not batch_norm_layers(build("squeezenet1_1", norm="group"))


def test_a_network_without_normalisation():
    """ResNet-18 as in the code of Bao et al. (2024) without BatchNorm: every such layer is the identity."""
    model = build("resnet18", norm="none", outputs=1000)
    assert sum(parameter.numel() for parameter in model.parameters()) == 11_679_912
    assert not list(model.buffers())
    with_norm = build("resnet18", outputs=1000)
    assert sum(parameter.numel() for parameter in with_norm.parameters()) == 11_689_512


def test_dropout_probabilities_are_kept():
    assert [layer.p for layer in dropout_layers(build("mobilenet_v3_small"))] == [0.2]
    rates = [layer.p for layer in dropout_layers(build("efficientnet_b0")) if type(layer) is not Dropout]
    assert rates == pytest.approx([0.2 * block / 16 for block in range(16)])


@pytest.mark.parametrize(
    ("name", "shape", "advice"),
    [
        ("alexnet", (3, 32, 32), "set dataset.image-size, for instance to 64"),
        ("densenet121", (1, 28, 28), "set dataset.image-size, for instance to 32"),
        ("vit_b_32", (1, 28, 28), "set dataset.image-size = 32"),
        ("vit_b_16", (3, 32, 64), "set dataset.image-size = 64"),
        ("maxvit_t", (3, 32, 32), "set dataset.image-size = 224"),
        ("resnet18", (4, 32, 32), "1 or 3 channels, not 4"),
        ("resnet18", (80,), "takes images"),
    ],
)
def test_unsuitable_images_say_what_to_do(name, shape, advice):
    assert advice in error_of(name, shape)


def test_unknown_names_are_answered_with_the_nearest():
    message = error_of("convnext_tin")
    assert "torchvision has no classifier 'convnext_tin'; did you mean 'convnext_tiny'?" in message
    with pytest.raises(UserError, match="did you mean 'torchvision:resnet50'"):
        build_model("resnet50", (3, 32, 32), 10)
    with pytest.raises(UserError, match="there is no module 'keras' on this machine"):
        build_model("keras:resnet50", (3, 32, 32), 10)
    assert "no parameter 'model.width'" in error_of("resnet18", width=3)
    own = ["norm", "groups", "initialisation", "weights"]
    assert list(model_parameters("torchvision:resnet18")) == [*own, "projection", "outputs", "features"]


class TestWeights:
    NAME = "mobilenet_v3_small"

    @pytest.fixture
    def published(self, tmp_path):
        """A file as torchvision publishes them: 1000 classes, three channels."""
        state = zoo.mobilenet_v3_small(weights=None).state_dict()
        torch.save(state, tmp_path / "published.pth")
        return tmp_path / "published.pth", state

    def test_a_classifier_of_another_shape_stays_random_and_is_told(self, published):
        path, state = published
        model = build(self.NAME, weights=str(path))
        random = build(self.NAME)

        assert torch.equal(model.state_dict()["body.features.0.0.weight"], state["features.0.0.weight"])
        assert torch.equal(model.state_dict()["body.classifier.0.weight"], state["classifier.0.weight"])
        assert torch.equal(model.classifier.weight, random.classifier.weight)
        (remark,) = model.remarks
        assert (
            "keeps its random weights of shape (10, 1024): that of the file has shape (1000, 1024)" in remark
        )

    def test_grey_images_sum_the_first_convolution(self, published):
        path, state = published
        model = build(self.NAME, (1, 28, 28), weights=str(path))
        expected = state["features.0.0.weight"].sum(dim=1, keepdim=True)
        assert torch.equal(model.state_dict()["body.features.0.0.weight"], expected)

    @pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
    def test_a_runs_own_model_comes_back(self, suffix, tmp_path):
        first = build_model(f"torchvision:{self.NAME}", (3, 32, 32), 10, seed=9)
        path = tmp_path / f"model{suffix}"
        (save_file if suffix == ".safetensors" else torch.save)(first.state_dict(), path)
        model = build(self.NAME, weights=str(path))
        assert all(torch.equal(value, model.state_dict()[key]) for key, value in first.state_dict().items())
        assert model.remarks == ()

    def test_nested_and_prefixed_states_are_understood(self, published, tmp_path):
        _, state = published
        nested = {"model": {f"module.{key}": value for key, value in state.items()}, "epoch": 3}
        torch.save(nested, tmp_path / "nested.pth")
        model = build(self.NAME, weights=str(tmp_path / "nested.pth"))
        assert torch.equal(model.state_dict()["body.features.0.0.weight"], state["features.0.0.weight"])

    def test_published_oddities(self, tmp_path):
        state = zoo.densenet121(weights=None).state_dict()
        old = {
            key.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): value
            for key, value in state.items()
            if not key.endswith("num_batches_tracked")
        }
        assert set(old) - set(state)
        torch.save(old, tmp_path / "densenet.pth")
        model = build("densenet121", weights=str(tmp_path / "densenet.pth"))
        key = "features.denseblock1.denselayer1.conv2.weight"
        assert torch.equal(model.state_dict()[f"body.{key}"], state[key])

        auxiliary = zoo.googlenet(weights=None, init_weights=False).state_dict()
        torch.save(auxiliary, tmp_path / "googlenet.pth")
        assert len(build("googlenet", weights=str(tmp_path / "googlenet.pth")).remarks) == 1

        squeezenet = zoo.squeezenet1_1(weights=None, num_classes=10).state_dict()
        torch.save(squeezenet, tmp_path / "squeezenet.pth")
        model = build("squeezenet1_1", weights=str(tmp_path / "squeezenet.pth"))
        assert torch.equal(model.classifier.weight, squeezenet["classifier.1.weight"].flatten(1))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda state: state.pop("features.0.0.weight"), "it lacks 'features.0.0.weight'"),
            (lambda state: state.update(extra=torch.zeros(1)), "the model has no 'extra'"),
            (
                lambda state: state.update({"features.0.1.weight": torch.zeros(3)}),
                r"'features.0.1.weight' is (3,) there and (16,) in the model",
            ),
            (lambda state: state.update(epoch=3), "does not hold a mapping of names to tensors"),
        ],
    )
    def test_what_does_not_fit_is_one_line(self, change, message, published, tmp_path):
        _, state = published
        change(state)
        torch.save(state, tmp_path / "changed.pth")
        assert message in error_of(self.NAME, weights=str(tmp_path / "changed.pth"))

    def test_unreadable_files(self, tmp_path):
        class Code:
            def __reduce__(self):
                return print, ("run!",)

        (tmp_path / "noise.pth").write_bytes(b"noise")
        (tmp_path / "noise.safetensors").write_bytes(b"noise")
        torch.save(Code(), tmp_path / "code.pth")
        assert "there is no file" in error_of(self.NAME, weights=str(tmp_path / "missing.pth"))
        for name in ("noise.pth", "noise.safetensors", "code.pth"):
            assert "cannot be read as weights" in error_of(self.NAME, weights=str(tmp_path / name))


def test_federated_training_from_local_weights(
    run_small: Runner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(zoo.shufflenet_v2_x0_5(weights=None).state_dict(), tmp_path / "weights.pth")
    options = {
        "model__name": "torchvision:shufflenet_v2_x0_5",
        "model__weights": str(tmp_path / "weights.pth"),
        "dataset__image_size": 16,
        "local__epochs": 0,
        "local__steps": 2,
        "rounds": 2,
    }
    first = (run_small("first", **options) / "model.safetensors").read_bytes()
    assert "the classifier keeps its random weights" in capsys.readouterr().out
    assert (run_small("second", **options) / "model.safetensors").read_bytes() == first


def test_models_with_constant_tables_train_with_privacy(
    run_small: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def thin_swin(name: str, weights: None, num_classes: int) -> nn.Module:
        """Make a ``swin_v2_t`` of few channels and blocks."""
        return swin.SwinTransformer(
            patch_size=[4, 4], embed_dim=12, depths=[1, 1], num_heads=[1, 2], window_size=[2, 2],
            num_classes=num_classes, block=swin.SwinTransformerBlockV2, downsample_layer=swin.PatchMergingV2,
        )  # fmt: skip

    monkeypatch.setattr(zoo, "get_model", thin_swin)
    run_small(
        model__name="torchvision:swin_v2_t",
        dataset__image_size=16,
        privacy__clipping="fixed",
        local__epochs=0,
        local__steps=1,
        local__batch_size=4,
        clients__fraction=0.2,
        evaluate__every=9,
        rounds=1,
    )
