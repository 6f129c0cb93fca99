"""Arrays as NumPy writes them, and headers that claim what does not follow."""

import io
from typing import Any

import numpy as np


def npy(values: np.ndarray, **options: Any) -> bytes:
    """Return an array's ``.npy`` bytes."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, values, **options)
    return stream.getvalue()


def header(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    """Return the ``.npy`` header of an array without its values."""
    stream = io.BytesIO()
    fields = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, fields)
    return stream.getvalue()
