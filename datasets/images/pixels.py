"""The pixels of one image file, as 8-bit RGB by stated rules."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from common.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

# How to turn stored pixels so that they stand upright, by the camera's note in the file (EXIF, tag 274).
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
    channels; colours of 16 bits keep their high byte. Transparency is left out, as by torchvision; palettes,
    CMYK and the like are converted to RGB. Photographs are turned upright, as viewers show them. Of several
    images in a file the first one counts.

    Raises
    ------
    UserError
        If the file is damaged, or has float or 32-bit pixels, of which nothing says which value is white.
    """
    from PIL import Image  # Pillow takes a tenth of a second, and most runs read no image file

    try:
        # What Pillow remarks on (large images, damaged metadata) changes no pixel.
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            pixels = _to_rgb(image, path)
            upright = _UPRIGHT.get(_orientation(image))
            return np.ascontiguousarray(upright(pixels)) if upright else pixels
    except UserError:
        raise
    except Exception as error:  # Pillow's decoders do not agree on what a broken file raises
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"cannot decode the image {path}: {reason}") from error


def _to_rgb(image: "Image.Image", path: Path) -> npt.NDArray[np.uint8]:
    bits = _grey_bits(image)
    if bits:
        scaled = _scaled(np.asarray(image), bits)
        # Pillow inverts such images of 8 bits, and not those of 16.
        return 255 - scaled if _tags(image).get(_PHOTOMETRIC) == _WHITE_IS_ZERO else scaled
    if image.mode in ("I", "F"):
        kind = "float" if image.mode == "F" else "32-bit or signed"
        raise UserError(
            f"{path} has {kind} pixels, and nothing says which value is white: save it with 8 or 16 bits"
        )
    return np.asarray(image.convert("RGB"), dtype=np.uint8).transpose(2, 0, 1)


def _orientation(image: "Image.Image") -> int:
    """Return how the pixels of a loaded image lie, 1 if upright or a damaged note does not say.

    Pillow turns TIFF by itself as it loads.
    """
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # as decoders, readers of notes raise anything
        return 1


def _grey_bits(image: "Image.Image") -> int:
    """Return how many bits a grey image of more than 8 has; 0 for any other."""
    if image.mode == "I":  # 16 bits, as Pillow opens what can have no more; of TIFF it is something else
        return 16 if image.format in ("PNG", "PPM") else 0
    if not image.mode.startswith("I;16"):
        return 0
    return int(_tags(image).get(_BITS_PER_SAMPLE, (16,))[0])


def _tags(image: "Image.Image") -> Mapping[int, Any]:
    """Return the tags of a TIFF; of other formats none."""
    return getattr(image, "tag_v2", {})


def _scaled(values: npt.NDArray[np.generic], bits: int) -> npt.NDArray[np.uint8]:
    """Return grey values as 8 bits, in three equal channels: round(255 v / (2^bits - 1))."""
    largest = 2**bits - 1
    grey = (values.astype(np.uint32) * 255 + largest // 2) // largest
    return np.repeat(np.minimum(grey, 255).astype(np.uint8)[None], 3, axis=0)
