"""What every model does with a batch."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models import available_models, build_model, model_parameters
from models.architectures.layers import set_dropout_generator

IMAGE_MODELS = [
    name for name in available_models() if name not in ("char-lstm", "sentence-rnn", "resnet1202")
]
# Narrow variants of the large models keep the tests quick; the architecture is the same.
REDUCED = {
    "convnext": {"width": 8, "depth": 1},
    "resnet18": {"width": 8},
    "resnet34": {"width": 8},
    "stage-resnet": {"width": 8},
    "swin-small": {"width": 8, "depth": 2},
    "vit-small": {"depth": 2, "width": 24, "heads": 2, "patch-size": 8},
}


def build(name, **parameters):
    return build_model(name, (3, 32, 32), 7, {**REDUCED.get(name, {}), **parameters})


@pytest.mark.parametrize("name", IMAGE_MODELS)
@pytest.mark.parametrize("training", [True, False])
def test_logits_have_one_column_per_class(name, training):
    model = build(name).train(training)

    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_model_is_features_then_classifier(name):
    model = build(name).eval()
    images = torch.rand(2, 3, 32, 32)

    features = model.features(images)

    assert isinstance(model.classifier, nn.Linear)
    assert features.shape == (2, model.classifier.in_features)
    torch.testing.assert_close(model.classifier(features), model(images))
    assert list(dict(model.named_children()))[-1] == "classifier"


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_memory_format_changes_nothing_but_rounding(name):
    model = build(name).eval()
    images = torch.rand(2, 3, 32, 32)
    expected = model(images)

    model.to(memory_format=torch.channels_last)

    torch.testing.assert_close(
        model(images.contiguous(memory_format=torch.channels_last)), expected, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_every_parameter_gets_a_gradient(name):
    model = build(name)

    model(torch.rand(4, 3, 32, 32)).square().sum().backward()

    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("name", ["small-cnn", "resnet18", "resnet20", "mlp", "linear"])
def test_digits_of_8x8_pixels_fit(name):
    model = build_model(name, (1, 8, 8), 10, REDUCED.get(name))

    assert model(torch.rand(2, 1, 8, 8)).shape == (2, 10)


def test_rectangular_images_fit():
    assert build_model("hsu-cnn", (1, 20, 32), 4)(torch.rand(2, 1, 20, 32)).shape == (2, 4)


DROPOUTS = {
    name: {key.replace("_", "-"): 0.5 for key in model_parameters(name) if "dropout" in key}
    for name in available_models()
}


@pytest.mark.parametrize("name", [name for name, keys in DROPOUTS.items() if keys])
def test_dropout_draws_from_the_generator_that_training_keys(name):
    if name == "sentence-rnn":
        small = {"embedding": 3, "hidden": 2, "fc": 16, "tokens": 9, **DROPOUTS[name]}
        model, inputs = build_model(name, (4,), 3, small), torch.tensor([[2, 5, 7, 3], [2, 3, 0, 0]])
    else:
        model, inputs = build(name, **DROPOUTS[name]), torch.rand(2, 3, 32, 32)
    outputs = []
    before = torch.get_rng_state()
    for seed in (1, 1, 2):
        set_dropout_generator(model, torch.Generator().manual_seed(seed))
        outputs.append(model(inputs))

    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


@pytest.mark.parametrize("name", ["hsu-cnn", "lenet"])
def test_pooling_before_relu_is_relu_before_pooling(name):
    """The papers apply ReLU first; both orders have the same outputs and gradients, to the bit."""
    model = build(name)
    images = torch.rand(4, 3, 32, 32)

    def as_published():
        x = F.max_pool2d(F.relu(model.conv1(images)), 2)
        x = F.max_pool2d(F.relu(model.conv2(x)), 2)
        x = F.relu(model.fc1(x.flatten(1)))
        return model.classifier(F.relu(model.fc2(x)))

    outputs = [model(images), as_published()]
    gradients = [torch.autograd.grad(output.square().sum(), list(model.parameters())) for output in outputs]

    assert torch.equal(*outputs)
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))
