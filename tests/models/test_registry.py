"""Models are found by file name, and wrong names are answered with the nearest right one."""

import sys

import pytest

from common.errors import UserError
from models import architectures, available_models, build_model, model_parameters

PLUGIN = """
from torch import nn

def build(input_shape, num_classes, *, hidden_units: int = 3):
    return nn.Linear(input_shape[0], hidden_units)
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    (tmp_path / "my_own_model.py").write_text(PLUGIN)
    monkeypatch.setattr(architectures, "__path__", [*architectures.__path__, str(tmp_path)])
    yield "my-own-model"
    sys.modules.pop("models.architectures.my_own_model", None)


def error_of(*arguments, **keywords):
    with pytest.raises(UserError) as raised:
        build_model(*arguments, **keywords)
    message = str(raised.value)
    assert "\n" not in message
    return message


def test_available_models_are_the_files_that_define_build():
    assert available_models() == [
        "char-lstm",
        "convnext",
        "hsu-cnn",
        "lenet",
        "linear",
        "mlp",
        "resnet110",
        "resnet1202",
        "resnet18",
        "resnet20",
        "resnet32",
        "resnet34",
        "resnet44",
        "resnet56",
        "sentence-rnn",
        "small-cnn",
        "stage-resnet",
        "strided-cnn",
        "swin-small",
        "vgg11",
        "vgg13",
        "vgg16",
        "vgg19",
        "vit-small",
    ]


def test_a_new_file_is_a_new_model(plugin):
    assert plugin in available_models()
    assert build_model(plugin, (5,), 2, {"hidden-units": 4}).weight.shape == (4, 5)
    assert build_model(plugin, (5,), 2).weight.shape == (3, 5)


def test_parameters_are_those_of_the_model_and_those_of_every_model(plugin):
    common = ["projection", "outputs", "features", "weights"]
    assert list(model_parameters(plugin)) == ["hidden_units", *common]
    assert list(model_parameters("linear")) == common


def test_unknown_model_names_the_nearest():
    message = error_of("hsu-cn", (3, 32, 32), 10)

    assert "there is no 'hsu-cn'; did you mean 'hsu-cnn'?" in message
    assert "small-cnn" in message


@pytest.mark.parametrize("name", ["layers", "residual", "", "../common/errors", "..common.errors"])
def test_only_model_names_are_models(name):
    assert f"there is no '{name}'" in error_of(name, (3, 32, 32), 10)


def test_unknown_parameter_names_the_nearest_and_the_allowed():
    message = error_of("small-cnn", (1, 8, 8), 10, {"dropout": 0.1})

    assert "no parameter 'model.dropout'; did you mean 'model.dropout" in message
    assert "it has: model.channels, model.hidden, model.dropout1, model.dropout2, " in message


def test_model_without_parameters_says_so():
    message = error_of("linear", (4,), 2, {"hidden": 3})
    assert "it has: model.projection, model.outputs, model.features, model.weights" in message


@pytest.mark.parametrize("value", ["64", 64.5, True, None])
def test_parameter_of_wrong_type(value):
    assert "model.hidden must be a valid integer" in error_of("mlp", (4,), 2, {"hidden": value})


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("mlp", {"hidden": 0}, "greater than 0"),
        ("hsu-cnn", {"padding": -1}, "greater than or equal to 0"),
        ("small-cnn", {"dropout1": 1.0}, "less than 1"),
        ("resnet18", {"width": 0}, "greater than 0"),
    ],
)
def test_parameter_out_of_range(name, parameters, message):
    assert message in error_of(name, (3, 32, 32), 10, parameters)


@pytest.mark.parametrize(
    ("name", "input_shape", "parameters", "needed", "instead"),
    [
        ("hsu-cnn", (1, 8, 8), {}, "16x16", "small-cnn"),
        ("hsu-cnn", (1, 3, 3), {"padding": 2}, "4x4", "mlp"),
        ("lenet", (1, 15, 28), {}, "16x16", "small-cnn"),
        ("small-cnn", (1, 5, 5), {}, "6x6", "mlp"),
        ("resnet18", (1, 7, 7), {}, "8x8", "small-cnn"),
        ("resnet20", (80,), {}, "takes images", "mlp"),
    ],
)
def test_unsuitable_input_says_what_to_use_instead(name, input_shape, parameters, needed, instead):
    message = error_of(name, input_shape, 10, parameters)

    assert needed in message
    assert instead in message


@pytest.mark.parametrize(
    ("name", "side", "parameters"),
    [
        ("hsu-cnn", 16, {}),
        ("hsu-cnn", 10, {"padding": 1}),
        ("hsu-cnn", 4, {"padding": 2}),
        ("lenet", 16, {}),
        ("small-cnn", 6, {}),
        ("resnet20", 4, {}),
    ],
)
def test_smallest_images_are_taken(name, side, parameters):
    build_model(name, (1, side, side), 10, parameters)
    error_of(name, (1, side - 1, side - 1), 10, parameters)
