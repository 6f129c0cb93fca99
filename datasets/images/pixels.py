"""Decode one image file to 8-bit RGB."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from common.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

# How to turn stored pixels upright, by the EXIF orientation (tag 274).
_ORIENTATION = 274
_UPRIGHT: Mapping[int, Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]] = {
    2: lambda x: x[:, :, ::-1],
    3: lambda x: x[:, ::-1, ::-1],
    4: lambda x: x[:, ::-1],
    5: lambda x: x.swapaxes(1, 2),
    6: lambda x: x.swapaxes(1, 2)[:, :, ::-1],
    7: lambda x: x.swapaxes(1, 2)[:, ::-1, ::-1],
    8: lambda x: x.swapaxes(1, 2)[:, ::-1],
}
# TIFF tags.
_BITS_PER_SAMPLE = 258
_PHOTOMETRIC = 262
_WHITE_IS_ZERO = 0


def decode_image(path: Path) -> npt.NDArray[np.uint8]:
    """Return the pixels of an image file, ``(3, height, width)``.

    Grey of up to 16 bits is scaled so that black and white stay black and white, and is repeated in three
    channels; 16-bit colours keep their high byte. Transparency is dropped, as by torchvision; palettes, CMYK
    and the like are converted to RGB. Photographs are turned upright by their EXIF orientation. Only the
    first image of a file with several is read.

    Raises
    ------
    UserError
        If the file is damaged, or has float or 32-bit pixels, for which the value of white is undefined.
    """
    from PIL import Image  # importing Pillow takes 0.1 s, and most runs read no image files

    try:
        # What Pillow warns about (large images, damaged metadata) does not change pixels.
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            pixels = _to_rgb(image, path)
            upright = _UPRIGHT.get(_orientation(image))
            return np.ascontiguousarray(upright(pixels)) if upright else pixels
    except UserError:
        raise
    except Exception as error:  # Pillow's decoders raise different exceptions for broken files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"cannot decode the image {path}: {reason}") from error


def _to_rgb(image: "Image.Image", path: Path) -> npt.NDArray[np.uint8]:
    bits = _grey_bits(image)
    if bits:
        scaled = _scaled(np.asarray(image), bits)
        # Pillow inverts such images of 8 bits, but not those of 16.
        return 255 - scaled if _tags(image).get(_PHOTOMETRIC) == _WHITE_IS_ZERO else scaled
    if image.mode in ("I", "F"):
        kind = "float" if image.mode == "F" else "32-bit or signed"
        raise UserError(
            f"{path} has {kind} pixels, and nothing says which value is white: save it with 8 or 16 bits"
        )
    return np.asarray(image.convert("RGB"), dtype=np.uint8).transpose(2, 0, 1)


def _orientation(image: "Image.Image") -> int:
    """Return the EXIF orientation of a loaded image; 1 (upright) if it is missing or damaged.

    Pillow itself turns TIFF images upright when it loads them.
    """
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # like the decoders, the EXIF reader may raise anything
        return 1


def _grey_bits(image: "Image.Image") -> int:
    """Return the bit depth of a grey image with more than 8 bits; 0 for any other image."""
    if image.mode == "I":  # Pillow's mode for formats with at most 16 bits; TIFF can have more
        return 16 if image.format in ("PNG", "PPM") else 0
    if not image.mode.startswith("I;16"):
        return 0
    return int(_tags(image).get(_BITS_PER_SAMPLE, (16,))[0])


def _tags(image: "Image.Image") -> Mapping[int, Any]:
    """Return the tags of a TIFF; none for other formats."""
    return getattr(image, "tag_v2", {})


def _scaled(values: npt.NDArray[np.generic], bits: int) -> npt.NDArray[np.uint8]:
    """Return grey values as 8-bit RGB with three equal channels: round(255 v / (2^bits - 1))."""
    largest = 2**bits - 1
    grey = (values.astype(np.uint32) * 255 + largest // 2) // largest
    return np.repeat(np.minimum(grey, 255).astype(np.uint8)[None], 3, axis=0)
