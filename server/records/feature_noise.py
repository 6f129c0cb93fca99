"""Examples of feature noise, for the plot of ``analysis/plots/noisy_images.py``."""

import io
from pathlib import Path

import numpy as np

from common.config import Config
from common.files import write_atomic
from datasets.configured import open_clean_dataset
from datasets.noise.feature_noise_of_clients import noise_examples

MAGNITUDES = (0.0, 1 / 32, 1 / 16, 1 / 8, 1 / 4)
_MAX_CLIENTS = 32


def write_noise_examples(path: Path, config: Config) -> None:
    """Write an image of each client with noise of several magnitudes, including the run's, as npz.

    ``rho`` has the magnitudes, ``images`` is uint8 of shape (magnitudes, clients, channels, height, width),
    of the first clients if there are many. A run without feature noise writes nothing.
    """
    if config.dataset.feature_noise == 0:
        return
    magnitudes = sorted({*MAGNITUDES, config.dataset.feature_noise})
    images = noise_examples(open_clean_dataset(config), config, magnitudes)[:, :_MAX_CLIENTS].numpy()
    content = io.BytesIO()
    np.savez_compressed(content, rho=np.array(magnitudes), images=images)
    write_atomic(path, content.getvalue())
