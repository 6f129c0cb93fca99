"""Dropout from a generator of its own; normalisation of pixels."""

import copy

import pytest
import torch

from models import build_model
from models.architectures.layers import (
    ChannelNorm,
    Dropout,
    StochasticDepth,
    dropout_layers,
    set_dropout_generator,
)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def drop(x, p=0.25, seed=0):
    layer = Dropout(p)
    layer.generator = generator(seed)
    return layer(x)


def test_elements_are_zero_or_scaled_and_the_mean_is_kept():
    dropped = drop(torch.ones(100_000))

    assert set(dropped.tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert (dropped == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)


def test_rate_holds_in_bfloat16():
    dropped = drop(torch.ones(200_000, dtype=torch.bfloat16), p=0.003)

    assert dropped.dtype == torch.bfloat16
    assert (dropped == 0).float().mean().item() == pytest.approx(0.003, rel=0.2)


def test_mask_depends_on_the_generator_alone():
    x = torch.ones(1000)
    expected = drop(x, seed=5)
    torch.manual_seed(99)

    assert torch.equal(drop(x, seed=5), expected)
    assert not torch.equal(drop(x, seed=6), expected)


def test_generator_advances_and_the_global_one_does_not():
    layer = Dropout(0.5)
    layer.generator = generator(1)
    state = torch.get_rng_state()

    first, second = layer(torch.ones(100)), layer(torch.ones(100))

    assert not torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)


def test_without_generator_it_is_torch_dropout():
    x = torch.rand(1000)
    torch.manual_seed(1)
    expected = torch.nn.functional.dropout(x, 0.3)
    torch.manual_seed(1)

    assert torch.equal(Dropout(0.3)(x), expected)


def test_gradient_passes_where_the_input_was_kept():
    x = torch.ones(1000, requires_grad=True)

    dropped = drop(x)
    dropped.sum().backward()

    assert torch.equal(x.grad, dropped.detach())


def test_evaluation_and_probability_zero_return_the_input():
    x = torch.rand(3)

    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


@pytest.mark.parametrize("p", [-0.1, 1.0])
def test_impossible_probability(p):
    with pytest.raises(ValueError, match="dropout probability"):
        Dropout(p)


def test_memory_format_is_kept():
    x = torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last)

    assert drop(x).is_contiguous(memory_format=torch.channels_last)


def test_set_dropout_generator_reaches_every_layer_of_a_model():
    model = build_model("small-cnn", (1, 8, 8), 10)
    images = torch.rand(4, 1, 8, 8)

    set_dropout_generator(model, generator(2))
    first = model(images)
    set_dropout_generator(model, generator(2))

    assert torch.equal(model(images), first)
    assert dropout_layers(model) == [model.dropout1, model.dropout2]
    assert model.dropout1.generator is model.dropout2.generator


def test_model_with_generator_can_be_copied():
    model = build_model("small-cnn", (1, 8, 8), 10)
    set_dropout_generator(model, generator(2))
    images = torch.rand(4, 1, 8, 8)

    assert torch.equal(copy.deepcopy(model)(images), model(images))


def test_stochastic_depth_drops_whole_samples():
    layer = StochasticDepth(0.25)
    layer.generator = generator(0)
    dropped = layer(torch.ones(20_000, 2, 3))

    assert torch.equal(dropped, dropped[:, :1, :1].expand_as(dropped))
    assert set(dropped.flatten().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert (dropped == 0).float().mean().item() == pytest.approx(0.25, abs=0.015)
    assert dropout_layers(torch.nn.Sequential(layer)) == [layer]
    assert layer.eval()(dropped) is dropped


def test_the_norm_is_over_the_channels_of_a_pixel():
    images = torch.rand(2, 5, 3, 4, generator=torch.Generator().manual_seed(0))
    found = ChannelNorm(5, eps=0.0)(images)
    mean, deviation = images.mean(1, keepdim=True), images.std(1, keepdim=True, unbiased=False)
    torch.testing.assert_close(found, (images - mean) / deviation)
