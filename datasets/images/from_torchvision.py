"""Images from torchvision's data sets, which torchvision reads and downloads."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from common.errors import UserError
from datasets.images.raw import RawSplit


def open_set(class_name: str, root: Path, download: bool, **split: bool | str) -> Any:
    """Open a torchvision data set; torchvision checks its files, and with ``download`` fetches them."""
    # Imported here: the import takes seconds, and a cached data set does not need it.
    from torchvision import datasets as torchvision_datasets

    try:
        return getattr(torchvision_datasets, class_name)(root, download=download, **split)
    # torchvision raises any of these for files that are missing or truncated, or cannot be fetched.
    except (RuntimeError, OSError, ValueError, AssertionError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        advice = (
            "check the connection, or put the files there by hand"
            if download
            else "delete the damaged files and allow the download with --set dataset.download=true"
        )
        raise UserError(f"cannot read {class_name} in {root} ({reason}): {advice}") from error


def grey_split(dataset: Any) -> RawSplit:
    """Return the grey images of a torchvision data set."""
    return RawSplit([dataset.data.numpy()[:, None]], labels_of(dataset.targets))


def colour_split(dataset: Any) -> RawSplit:
    """Return the colour images of a torchvision data set."""
    return RawSplit([dataset.data.transpose(0, 3, 1, 2)], labels_of(dataset.targets))


def labels_of(targets: Any) -> npt.NDArray[np.int64]:
    """Return labels as int64."""
    return np.asarray(targets, dtype=np.int64)
