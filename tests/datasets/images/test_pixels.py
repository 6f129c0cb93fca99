"""What an image file of each kind becomes: 8-bit RGB by stated rules, or one line."""

import io
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, TiffImagePlugin

from common.errors import UserError
from datasets.images.pixels import decode_image

RAMP = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)  # 257 v is white at v = 255, as 255 v / 255
NOT_ALIGNED = np.array([[0, 1, 128, 129, 32767, 32768, 65534, 65535]], dtype=np.uint16)


def scaled(values: npt.NDArray[np.uint16], largest: int) -> list[list[int]]:
    return [[round(255 * int(value) / largest) for value in row] for row in values]


def grey(path: Path) -> list[list[int]]:
    pixels = decode_image(path)
    assert pixels.dtype == np.uint8
    assert (pixels[0] == pixels[1]).all()
    assert (pixels[0] == pixels[2]).all()
    return pixels[0].tolist()  # type: ignore[no-any-return]


class TestSixteenBits:
    @pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
    @pytest.mark.parametrize("values", [RAMP, NOT_ALIGNED])
    def test_grey_is_scaled(self, tmp_path: Path, suffix: str, values: npt.NDArray[np.uint16]) -> None:
        path = tmp_path / f"x.{suffix}"
        Image.fromarray(values).save(path)
        assert grey(path) == scaled(values, 65535)

    def test_a_ramp_of_257_is_every_value_once(self, tmp_path: Path) -> None:
        Image.fromarray(RAMP).save(tmp_path / "x.png")
        assert grey(tmp_path / "x.png") == np.arange(256).reshape(16, 16).tolist()

    def test_big_endian_tiff(self, tmp_path: Path) -> None:
        Image.fromarray(RAMP.astype(">u2")).save(tmp_path / "x.tif")
        assert grey(tmp_path / "x.tif") == scaled(RAMP, 65535)

    def test_grey_that_counts_from_white_is_turned_over(self, tmp_path: Path) -> None:
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        Image.fromarray(NOT_ALIGNED).save(tmp_path / "black.tif", tiffinfo=tags)
        content = (tmp_path / "black.tif").read_bytes()
        # The entry of the tag 262: type SHORT, one value, 1 (black is zero).
        entry = bytes.fromhex("0601 0300 01000000 0100".replace(" ", ""))
        assert content.count(entry) == 1
        (tmp_path / "white.tif").write_bytes(content.replace(entry, entry[:-2] + b"\x00\x00"))
        assert grey(tmp_path / "white.tif") == [
            [255 - v for v in row] for row in grey(tmp_path / "black.tif")
        ]

    def test_a_maximum_below_65535_is_white(self, tmp_path: Path) -> None:
        values = np.array([[0, 511, 1023]], dtype=">u2")
        (tmp_path / "x.pgm").write_bytes(b"P5 3 1 1023\n" + values.tobytes())
        assert grey(tmp_path / "x.pgm") == [[0, 127, 255]]

    def test_colours_keep_their_high_byte(self, tmp_path: Path) -> None:
        values = np.array([[[0, 0x80FF, 0xFFFF]]], dtype=">u2")
        (tmp_path / "x.ppm").write_bytes(b"P6 1 1 65535\n" + values.tobytes())
        assert decode_image(tmp_path / "x.ppm")[:, 0, 0].tolist() == pytest.approx([0, 0x80, 0xFF], abs=1)


class TestOtherKinds:
    @pytest.mark.parametrize("kind", [np.float32, np.int32])
    def test_what_has_no_white_is_refused(self, tmp_path: Path, kind: type) -> None:
        Image.fromarray(np.full((2, 2), 0.5 if kind is np.float32 else 70000, kind)).save(tmp_path / "x.tif")
        with pytest.raises(UserError, match=r"x\.tif has .* pixels, and nothing says which value is white"):
            decode_image(tmp_path / "x.tif")

    def test_black_and_white(self, tmp_path: Path) -> None:
        Image.fromarray(np.array([[False, True]])).save(tmp_path / "x.png")
        assert grey(tmp_path / "x.png") == [[0, 255]]

    def test_transparency_is_left_out(self, tmp_path: Path) -> None:
        pixels = np.array([[[10, 20, 30, 0], [40, 50, 60, 255]]], dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "x.png")
        assert decode_image(tmp_path / "x.png").transpose(1, 2, 0).tolist() == pixels[..., :3].tolist()
        Image.fromarray(pixels[..., 2:]).save(tmp_path / "y.png")  # grey and transparency
        assert grey(tmp_path / "y.png") == [[30, 60]]

    def test_a_palette_gives_its_colours_without_a_remark(self, tmp_path: Path) -> None:
        image = Image.new("P", (2, 1))
        image.putpalette([1, 2, 3, 250, 0, 9])
        image.putpixel((1, 0), 1)
        image.save(tmp_path / "x.png", transparency=bytes([0, 128]))
        with warnings.catch_warnings(record=True) as caught:
            assert decode_image(tmp_path / "x.png")[:, 0].T.tolist() == [[1, 2, 3], [250, 0, 9]]
        assert not caught

    def test_cmyk(self, tmp_path: Path) -> None:
        pixels = np.array([[[0, 0, 0, 0], [0, 0, 0, 255], [255, 0, 0, 0]]], dtype=np.uint8)
        Image.fromarray(pixels, mode="CMYK").save(tmp_path / "x.tif")
        expected = [[255, 255, 255], [0, 0, 0], [0, 255, 255]]
        assert decode_image(tmp_path / "x.tif")[:, 0].T.tolist() == expected


def _encoded(kind: str, array: npt.NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()


NOISE = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
FILES = [
    _encoded("PNG", NOISE),
    _encoded("JPEG", NOISE),
    _encoded("TIFF", NOISE),
    _encoded("BMP", NOISE),
    _encoded("WEBP", NOISE),
    _encoded("PNG", RAMP),
    _encoded("TIFF", RAMP),
    _encoded("PPM", RAMP),
]


@settings(max_examples=300)
@given(
    content=st.sampled_from(FILES),
    cut=st.floats(0, 1),
    changes=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=4),
)
def test_a_damaged_file_is_pixels_or_one_line(
    tmp_path: Path, content: bytes, cut: float, changes: list[tuple[int, int]]
) -> None:
    damaged = bytearray(content)
    for position, value in changes:
        if position < len(damaged):
            damaged[position] = value
    path = tmp_path / "x.png"
    path.write_bytes(damaged[: round(cut * len(damaged))])
    try:
        pixels = decode_image(path)
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017
        assert "x.png" in str(error)  # noqa: PT017
    else:
        assert pixels.dtype == np.uint8
        assert pixels.shape[0] == 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_photographs_are_turned_upright(tmp_path: Path, suffix: str, orientation: int) -> None:
    """Pillow's own turning is the reference: what viewers show."""
    quarters = np.zeros((16, 32, 3), dtype=np.uint8)
    quarters[:8, :16], quarters[8:, :16], quarters[8:, 16:] = 250, 160, 80
    image = Image.fromarray(quarters)
    image.getexif()[0x112] = orientation
    image.save(tmp_path / f"x.{suffix}", exif=image.getexif())
    with Image.open(tmp_path / f"x.{suffix}") as stored:
        upright = np.asarray(ImageOps.exif_transpose(stored)).transpose(2, 0, 1)
    pixels = decode_image(tmp_path / f"x.{suffix}")
    assert pixels.shape == ((3, 32, 16) if orientation > 4 else (3, 16, 32))
    assert (pixels == upright).all()


def test_a_damaged_note_of_the_camera_does_not_matter(tmp_path: Path) -> None:
    image = Image.fromarray(np.full((4, 4, 3), 9, dtype=np.uint8))
    image.save(tmp_path / "x.png", exif=b"Exif\0\0MM\0*\0\0\0\xff")
    assert (decode_image(tmp_path / "x.png") == 9).all()


def test_the_first_of_several_images_counts(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((4, 4, 3), value, dtype=np.uint8)) for value in (10, 200)]
    for suffix in ("png", "tif", "webp"):
        lossless = {"lossless": True} if suffix == "webp" else {}
        frames[0].save(tmp_path / f"x.{suffix}", save_all=True, append_images=frames[1:], **lossless)
        assert (decode_image(tmp_path / f"x.{suffix}") == 10).all()
