import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from models.architectures.max_pool import max_pool


def pooled_and_gradient(pool, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x = x.detach().requires_grad_()
    pooled = pool(x)
    upstream = torch.arange(1, pooled.numel() + 1, dtype=pooled.dtype).view(pooled.shape)
    (gradient,) = torch.autograd.grad(pooled, x, upstream)
    return pooled, gradient


@given(
    height=st.integers(2, 9),
    width=st.integers(2, 9),
    largest=st.sampled_from([1, 2, 1000]),  # with 1 and 2, most windows have ties
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    seed=st.integers(0, 99),
)
def test_values_and_gradients_have_the_bits_of_pytorch(height, width, largest, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(-largest, largest + 1, (3, 2, height, width), generator=generator).to(dtype) / 3
    expected, gradient = pooled_and_gradient(lambda x: F.max_pool2d(x, 2), x)
    actual, own = pooled_and_gradient(max_pool, x)
    assert torch.equal(actual, expected)
    assert torch.equal(own, gradient)
    with torch.no_grad():
        assert torch.equal(max_pool(x), expected)


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("grad", [True, False])
def test_values_that_are_not_finite_stay_as_they_are_in_pytorch(place, value, grad):
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).roll(1)
    x[place] = value
    x = x.view(1, 1, 2, 2)
    with torch.set_grad_enabled(grad):
        assert torch.equal(max_pool(x).isnan(), F.max_pool2d(x, 2).isnan())
        assert torch.equal(max_pool(x).nan_to_num(0), F.max_pool2d(x, 2).nan_to_num(0))


def test_second_derivatives():
    x = torch.randn(2, 2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(max_pool, x.requires_grad_())
    assert torch.autograd.gradgradcheck(lambda x: max_pool(x).square(), x)


@pytest.mark.parametrize("is_contiguous", [True, False])
def test_per_client_gradients_under_vmap(is_contiguous):
    conv = nn.Conv2d(1, 2, 3)
    weights = torch.randn(3, 2, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    images = torch.randn(3, 4, 1, 9, 8, generator=torch.Generator().manual_seed(1))
    if not is_contiguous:
        images = images.transpose(3, 4)

    def loss(pool, weight, images):
        return pool(torch.func.functional_call(conv, {"weight": weight, "bias": None}, images)).square().sum()

    def own(weight, images):
        return loss(max_pool, weight, images)

    together = torch.func.vmap(torch.func.grad(own))(weights, images)
    alone = [
        torch.func.grad(lambda w, x: loss(lambda y: F.max_pool2d(y, 2), w, x))(w, x)
        for w, x in zip(weights, images, strict=True)
    ]
    torch.testing.assert_close(together, torch.stack(alone))
    leaves = weights.clone().requires_grad_()
    torch.func.vmap(own)(leaves, images).sum().backward()
    torch.testing.assert_close(leaves.grad, torch.stack(alone))


def test_channels_last_and_autocast_keep_memory_format_and_dtype():
    x = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    last = x.contiguous(memory_format=torch.channels_last)
    assert max_pool(last).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(max_pool(last), F.max_pool2d(last, 2))
    conv = nn.Conv2d(4, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        expected, pooled = F.max_pool2d(conv(x), 2), max_pool(conv(x))
    assert pooled.dtype == expected.dtype
    assert torch.equal(pooled, expected)


def test_an_image_too_small_is_refused_as_pytorch_does():
    with pytest.raises(RuntimeError, match="too small"):
        max_pool(torch.zeros(1, 1, 1, 4))
