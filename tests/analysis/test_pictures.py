"""Pictures of filters and of noisy images."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from analysis.comparison import filters
from analysis.plots import noisy_images
from tests.analysis.conftest import picture_is_drawn

WEIGHTS = np.array([0, 0.05, -0.05, 0.1, -0.1, 0.2])


def test_tiles():
    expected = [0.5, 0.731059, 0.268941, 0.880797, 0.119203, 0.982014]
    np.testing.assert_allclose(filters.tiles(WEIGHTS), expected, atol=1e-6)
    np.testing.assert_allclose(filters.tiles(-WEIGHTS), 1 - filters.tiles(WEIGHTS), atol=1e-12)


def test_filters_are_laid_out_row_by_row():
    weights = np.zeros((5, 3, 2, 2))
    weights[4, 0, 1, 0] = 1.0  # filter 4: second row, second column; red
    picture = filters.grid(weights)
    assert picture.shape == (4, 6, 3)
    np.testing.assert_allclose(picture[3, 2], [1, 0.5, 0.5], atol=1e-6)
    assert picture[3, 5].tolist() == [1, 1, 1]  # no sixth filter
    assert filters.clear_share(weights) == pytest.approx(0)
    weights[0] = 0.1
    assert filters.clear_share(weights) == pytest.approx(0.2)


def test_the_first_convolution_is_found(make_run, tmp_path, capsys):
    run = make_run()
    generator = np.random.default_rng(0)
    first = generator.normal(0, 0.1, (16, 3, 5, 5)).astype(np.float32)
    other = np.zeros((8, 16, 3, 3), dtype=np.float32)
    model = {"classifier.weight": np.zeros((2, 8), np.float32), "a.conv": other, "conv1.weight": first}
    save_file(model, run / "model.safetensors")
    np.testing.assert_array_equal(filters.first_filters(run), first)
    assert filters.main([str(run), str(run), "--out", str(tmp_path / "filters.png")]) == 0
    assert picture_is_drawn(tmp_path / "filters.png")
    assert "100.0% of the filters are clear" in capsys.readouterr().out
    save_file({"classifier.weight": model["classifier.weight"]}, run / "model.safetensors")
    assert filters.main([str(run)]) == 2
    assert "no convolution" in capsys.readouterr().err


def test_noisy_images_have_black_gaps(make_run, capsys):
    run = make_run()
    assert noisy_images.main([str(run)]) == 2
    assert "dataset.feature-noise" in capsys.readouterr().err
    images = np.arange(2 * 8 * 3 * 4 * 4).reshape(2, 8, 3, 4, 4).astype(np.uint8)
    picture = noisy_images.grid(images)
    assert picture.shape == (10, 46, 3)
    assert not picture[4:6].any()
    assert not picture[:, 4:6].any()
    assert picture[7, 8].tolist() == images[1, 1, :, 1, 2].tolist()
    np.savez(run / "feature_noise.npz", rho=np.array([0.0, 0.125]), images=images)
    assert noisy_images.main([str(run)]) == 0
    assert picture_is_drawn(run / "plots" / "noisy_images.png", least_pixels=150)
