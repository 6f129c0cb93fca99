"""Arrays from files that may be damaged: any damage becomes a one-line error."""

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load

from common.errors import UserError
from common.files import read_regular

T = TypeVar("T")
ORDER = "order"  # of arrays, in the metadata of a ``.safetensors`` file


def read_npz(path: Path, *names: str) -> dict[str, npt.NDArray[Any]]:
    """Read arrays of an ``.npz`` file, never a pickle.

    Raises
    ------
    UserError
        If the file is not such an archive, or an array is missing or damaged.
    """
    try:
        with np.load(io.BytesIO(read_regular(path)), allow_pickle=False) as content:
            if missing := [name for name in names if name not in content]:
                raise UserError(f"{path} has no array '{missing[0]}': no run wrote this file")
            return {name: content[name] for name in names}
    except UserError:
        raise
    except Exception as error:  # damage to the archive, its compression or an array's header
        raise _damaged(path, error) from None


def read_safetensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read the arrays of a ``.safetensors`` file, in its order; the library returns them in any.

    Raises
    ------
    UserError
        If the file cannot be read or is damaged.
    """
    try:
        content = read_regular(path)
        return in_order(load(content), content)
    except (OSError, ValueError, LookupError, TypeError, MemoryError, SafetensorError) as error:
        raise _damaged(path, error) from None


def order_of(names: Iterable[str]) -> dict[str, str]:
    """Return the metadata of a ``.safetensors`` file that keep the order of its arrays."""
    return {ORDER: json.dumps(list(names))}


def in_order(arrays: Mapping[str, T], content: bytes) -> dict[str, T]:
    """Return the arrays of a ``.safetensors`` file in its order; those that it does not list come last."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    listed = json.loads(header.get("__metadata__", {}).get(ORDER, "[]"))
    place = {name: number for number, name in enumerate(listed)}
    return dict(sorted(arrays.items(), key=lambda item: (place.get(item[0], len(place)), item[0])))


def _damaged(path: Path, error: Exception) -> UserError:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return UserError(f"cannot read {path}: {' '.join(reason.split())}")
