import dataclasses

import pytest
import torch

from common.errors import UserError
from datasets.configured import open_dataset
from datasets.dataset import Dataset, Split
from datasets.noise.client_noise import NoisyNormalizer, check_noise, noise_levels, noisy_images
from datasets.transforms import Normalizer

STD = (0.25, 0.5)
GREY = torch.full((600, 2, 16, 16), 51, dtype=torch.uint8)


def noisy(levels: torch.Tensor, seed: int = 0) -> NoisyNormalizer:
    return NoisyNormalizer(Normalizer((0.5, 0.1), STD), STD, levels, torch.Generator().manual_seed(seed))


def pixels(normalized: torch.Tensor) -> torch.Tensor:
    """Undo the normalisation: images on [0, 1]."""
    return normalized.double() * torch.tensor(STD).view(-1, 1, 1) + torch.tensor((0.5, 0.1)).view(-1, 1, 1)


def test_levels_grow_from_0_to_sigma() -> None:
    assert noise_levels(0.3, 4).tolist() == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert noise_levels(0.3, 1).tolist() == [0.0]


def test_noise_is_on_the_scale_of_pixels_and_not_clipped() -> None:
    images = pixels(noisy(torch.tensor([0.2]))(GREY))
    for channel in range(2):
        values = images[:, channel]
        assert values.mean().item() == pytest.approx(0.2, abs=0.005)
        assert values.std().item() == pytest.approx(0.2, rel=0.01)
    assert images.min() < -0.2
    assert torch.equal(GREY, torch.full_like(GREY, 51))


def test_every_call_draws_anew_from_the_generator() -> None:
    first, second = noisy(torch.tensor([0.2])), noisy(torch.tensor([0.2]))
    one, two = first(GREY[:20]), first(GREY[:20])
    assert not torch.equal(one, two)
    assert torch.equal(one, second(GREY[:20]))
    assert torch.equal(two, second(GREY[:20]))
    assert not torch.equal(one, noisy(torch.tensor([0.2]), seed=1)(GREY[:20]))


@pytest.mark.parametrize("num_levels", [3, 7, 450])
def test_image_j_has_level_j_mod_k(num_levels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.noise.client_noise._IMAGES_PER_STEP", 100)
    levels = noise_levels(0.4, num_levels)
    images = pixels(noisy_images(noisy(levels), GREY, num_levels))
    assert len(images) == 600
    spread = images.flatten(1).std(dim=1)
    expected = levels[torch.arange(600) % num_levels]
    # 512 values each: a standard error of 3 percent.
    assert torch.allclose(spread, expected.double(), rtol=0.17, atol=1e-6)


def test_a_constant_channel_is_not_divided_by_zero() -> None:
    normalizer = NoisyNormalizer(
        Normalizer((0.0,), (0.0,)), (0.0,), torch.tensor([0.1]), torch.Generator().manual_seed(0)
    )
    assert normalizer(GREY[:, :1]).std().item() == pytest.approx(0.1, rel=0.01)


def test_text_has_no_pixels() -> None:
    tokens = Split(torch.zeros(5, 80, dtype=torch.int64), torch.zeros(5, dtype=torch.int64))
    digits = open_dataset_of_digits()
    text = dataclasses.replace(digits, name="shakespeare", train=tokens, kind="tokens")
    check_noise(text, 0.0)
    check_noise(digits, 0.1)
    with pytest.raises(UserError, match="noise on pixels, and dataset 'shakespeare' has none: set it to 0"):
        check_noise(text, 0.1)


def open_dataset_of_digits() -> Dataset:
    from tests.common.configs import make_config

    return open_dataset(make_config())
