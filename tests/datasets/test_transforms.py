import numpy as np
import pytest
import torch

from common.errors import UserError
from datasets.augmentations._cutout import cutout
from datasets.augmentations.crop_flip import augment as crop_flip
from datasets.augmentations.resized_crop_flip import augment as resized_crop_flip
from datasets.transforms import Normalizer


def _reference_crop_flip(
    inputs: torch.Tensor, generator: torch.Generator, padding: int, horizontal_flip: bool
) -> torch.Tensor:
    samples, channels, height, width = inputs.shape
    offsets = torch.randint(0, 2 * padding + 1, (2, samples, 1), generator=generator)
    mirrored = torch.zeros(samples, 1)
    if horizontal_flip:
        mirrored = torch.randint(0, 2, (samples, 1), generator=generator)
    images = []
    for index, image in enumerate(inputs):
        canvas = torch.zeros(channels, height + 2 * padding, width + 2 * padding, dtype=inputs.dtype)
        canvas[:, padding : padding + height, padding : padding + width] = image
        top, left = int(offsets[0, index]), int(offsets[1, index])
        crop = canvas[:, top : top + height, left : left + width]
        images.append(crop.flip(-1) if mirrored[index] else crop)
    return torch.stack(images)


@pytest.mark.parametrize("shape", [(64, 3, 32, 32), (5, 1, 7, 5), (1, 2, 5, 5)])
@pytest.mark.parametrize("padding", [0, 1, 4])
@pytest.mark.parametrize("horizontal_flip", [True, False])
def test_crop_flip_equals_per_image_reference(
    shape: tuple[int, ...], padding: int, horizontal_flip: bool
) -> None:
    inputs = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for seed in range(5):
        actual = crop_flip(
            inputs, torch.Generator().manual_seed(seed), padding=padding, horizontal_flip=horizontal_flip
        )
        expected = _reference_crop_flip(inputs, torch.Generator().manual_seed(seed), padding, horizontal_flip)
        assert actual.dtype == torch.uint8
        assert torch.equal(actual, expected)


@pytest.mark.parametrize(("shape", "padding"), [((64, 3, 32, 32), 4), ((5, 1, 7, 5), 4), ((3, 2, 4, 6), 0)])
def test_crop_flip_pads_by_reflection_as_niid_bench(shape: tuple[int, ...], padding: int) -> None:
    """The draws are those of zero padding, and NumPy pads the images."""
    inputs = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    samples, _, height, width = shape
    drawn = torch.Generator().manual_seed(3)
    offsets = torch.randint(0, 2 * padding + 1, (2, samples, 1), generator=drawn)
    mirrored = torch.randint(0, 2, (samples, 1), generator=drawn)
    sides = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    canvas = torch.from_numpy(np.pad(inputs.numpy(), sides, mode="reflect"))
    actual = crop_flip(inputs, torch.Generator().manual_seed(3), padding=padding, padding_mode="reflect")
    assert actual.dtype == torch.uint8
    for index in range(samples):
        top, left = int(offsets[0, index]), int(offsets[1, index])
        crop = canvas[index, :, top : top + height, left : left + width]
        assert torch.equal(actual[index], crop.flip(-1) if mirrored[index] else crop)


def test_crop_flip_reaches_every_offset_and_both_orientations() -> None:
    inputs = torch.zeros(4000, 1, 3, 3, dtype=torch.uint8)
    inputs[:, 0, 1, 1] = 1
    shifted = crop_flip(inputs, torch.Generator().manual_seed(0), padding=1)
    frequencies = shifted.sum(0, dtype=torch.float64) / len(inputs)
    assert frequencies.sub(1 / 9).abs().max() < 0.02

    mirrored = crop_flip(torch.tensor([[[[1, 2]]]] * 4000), torch.Generator().manual_seed(0), padding=0)
    assert (mirrored[:, 0, 0, 0] == 2).double().mean().item() == pytest.approx(0.5, abs=0.03)


def test_crop_flip_leaves_the_input_and_the_global_generator_alone() -> None:
    inputs = torch.randint(0, 256, (8, 3, 8, 8), dtype=torch.uint8)
    before, state = inputs.clone(), torch.get_rng_state()
    crop_flip(inputs, torch.Generator().manual_seed(0), padding=2)
    assert torch.equal(inputs, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_crop_flip_accepts_channels_last() -> None:
    inputs = torch.randint(0, 256, (8, 3, 8, 8), dtype=torch.uint8)
    generators = [torch.Generator().manual_seed(1) for _ in range(2)]
    plain = crop_flip(inputs, generators[0], padding=2)
    channels_last = crop_flip(inputs.contiguous(memory_format=torch.channels_last), generators[1], padding=2)
    assert torch.equal(plain, channels_last)


def test_normalizer_closed_form() -> None:
    inputs = torch.tensor([[[[0, 255]], [[51, 102]]]], dtype=torch.uint8)
    normalized = Normalizer((0.5, 0.2), (0.25, 0.1))(inputs)
    assert normalized.dtype == torch.float32
    expected = torch.tensor([[[[-2.0, 2.0]], [[0.0, 2.0]]]])
    torch.testing.assert_close(normalized, expected, atol=1e-6, rtol=0)


def test_normalizer_takes_stacked_clients_and_constant_channels() -> None:
    inputs = torch.full((2, 4, 1, 3, 3), 255, dtype=torch.uint8)
    normalized = Normalizer((1.0,), (0.0,))(inputs)
    assert normalized.shape == inputs.shape
    assert normalized.abs().max() < 1e-6
    assert inputs.unique().tolist() == [255]


@pytest.mark.parametrize("shape", [(40, 3, 32, 32), (40, 1, 5, 9)])
@pytest.mark.parametrize("side", [16, 3, 1])
def test_cutout_hides_one_square_as_far_as_it_is_inside(shape: tuple[int, ...], side: int) -> None:
    samples, _, height, width = shape
    inputs = torch.rand(shape, generator=torch.Generator().manual_seed(1)) + 1
    centres = torch.Generator().manual_seed(0)
    rows, columns = (torch.randint(0, length, (samples, 1), generator=centres) for length in (height, width))
    actual = cutout(inputs, torch.Generator().manual_seed(0), side)
    for image, before, y, x in zip(actual, inputs, rows.flatten(), columns.flatten(), strict=True):
        top, left = int(y) - side // 2, int(x) - side // 2
        expected = before.clone()
        expected[:, max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)] = 0
        assert torch.equal(image, expected)
    assert (inputs >= 1).all()


def test_cutout_of_everything_is_refused() -> None:
    with pytest.raises(UserError, match=r"augmentation\.cutout = 16 hides images of 8x8 pixels"):
        cutout(torch.ones(1, 1, 8, 8), torch.Generator(), 16)


def test_a_resized_crop_of_everything_is_the_image_or_its_mirror_image() -> None:
    inputs = torch.randint(0, 256, (200, 3, 6, 6), generator=torch.Generator().manual_seed(0))
    moved = resized_crop_flip(inputs, torch.Generator().manual_seed(1), smallest_area=1.0, largest_ratio=1.0)
    plain = [torch.allclose(a, b.float(), atol=1e-3) for a, b in zip(moved, inputs, strict=True)]
    mirror = [torch.allclose(a, b.float().flip(-1), atol=1e-3) for a, b in zip(moved, inputs, strict=True)]
    assert all(a != b for a, b in zip(plain, mirror, strict=True))
    assert 70 < sum(mirror) < 130


def test_resized_crops_are_parts_of_the_area_and_ratio_asked_for() -> None:
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    inputs = torch.stack([rows, columns]).expand(500, 2, 32, 32)
    moved = resized_crop_flip(inputs, torch.Generator().manual_seed(0))
    assert moved.dtype == torch.float32
    height = moved[:, 0].amax((1, 2)) - moved[:, 0].amin((1, 2))
    width = moved[:, 1].amax((1, 2)) - moved[:, 1].amin((1, 2))
    # Between the outermost of 32 pixel centres lie 31 / 32 of a side, less where the border cuts.
    assert moved.min() >= 0
    assert moved.max() <= 31
    area, ratio = height * width / 31**2, width / height
    assert 0.06 < area.min() < 0.12
    assert area.max() > 0.9
    assert 0.70 < ratio.min() < 0.8
    assert 1.25 < ratio.max() < 1.45
    assert area.mean().item() == pytest.approx(0.54, abs=0.04)
    assert (moved[:, 1, 0, 0] > moved[:, 1, 0, -1]).double().mean().item() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("padding", [7, 10**8])
def test_images_are_not_shifted_out_of_sight(padding: int) -> None:
    with pytest.raises(UserError, match=rf"augmentation.padding = {padding} .* below their shorter side"):
        crop_flip(torch.zeros(1, 1, 9, 7), torch.Generator(), padding=padding)
    assert crop_flip(torch.zeros(1, 1, 9, 7), torch.Generator(), padding=6).shape == (1, 1, 9, 7)
