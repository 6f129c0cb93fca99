"""A user's inputs to a trained model, read in the same way as the data set's own files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from common.errors import UserError
from common.files import read_text
from datasets.conversion import as_inputs
from datasets.dataset import Kind
from datasets.images.decoding import fit
from datasets.images.files import ENDINGS, image_files, printable
from datasets.images.pixels import decode_image
from datasets.sets.npz import read_arrays
from datasets.shakespeare.given_text import given_text
from datasets.tables import Encoder, Table, read_table

# Weights of red, green and blue in ITU-R BT.601 luma, in units of 2^-16; they add up to 1.
_GREY = np.array([19595, 38470, 7471], dtype=np.uint32)


@dataclass(frozen=True, eq=False)
class GivenInputs:
    """Raw inputs, a name for each, and the number of images that were resized.

    Attributes
    ----------
    positions : list of int
        For text, the position of the token after which to predict; empty for other inputs.
    remarks : list of str
        Notes for the user on how the inputs were read.
    """

    names: list[str]
    inputs: torch.Tensor
    num_resized: int = 0
    positions: list[int] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class InputReader:
    """Reads inputs of the kind that a model takes.

    Attributes
    ----------
    kind, input_shape : str, tuple of int
        Those of the data set that the model was trained on.
    encoder, delimiter : Encoder or None, str
        For tables; without an encoder the columns are the inputs, in their order.
    """

    kind: Kind
    input_shape: tuple[int, ...]
    encoder: Encoder | None = None
    delimiter: str = ","
    classes: Sequence[str] = ()

    def read(self, paths: Sequence[Path], texts: Sequence[str] = ()) -> GivenInputs:
        """Read inputs from files and folders, and from texts given directly.

        Raises
        ------
        UserError
            If a file is missing or damaged, or the model does not take such inputs.
        """
        if texts and self.kind != "tokens":
            raise UserError(f"--text is for models of text, and this one takes {self.kind}")
        names: list[str] = []
        parts: list[torch.Tensor] = []
        positions: list[int] = []
        remarks: list[str] = []
        num_resized = 0
        for given in (self._of_text(text, shortened(text)) for text in texts):
            names += given.names
            parts.append(given.inputs)
            positions += given.positions
            remarks += given.remarks
        for path in paths:
            for given in self._read(path):
                names += given.names
                parts.append(given.inputs)
                positions += given.positions
                remarks += given.remarks
                num_resized += given.num_resized
        return GivenInputs(names, torch.cat(parts), num_resized, positions, remarks)

    def _read(self, path: Path) -> Iterator[GivenInputs]:
        ending = path.suffix.lower()
        shown = printable(str(path))
        if not path.exists():
            raise UserError(f"there is no {shown}")
        if ending == ".npz" and not path.is_dir():
            yield self._of_arrays(path)
        elif self.kind == "tokens":
            if path.is_dir() or ending != ".txt":
                raise UserError(
                    f"{shown}: the model takes text: give a .txt file, --text, or a .npz with 'inputs'"
                )
            yield self._of_text(read_text(path).rstrip("\n"), shown)
        elif self.kind == "images":
            yield from self._of_images(path)
        elif ending == ".csv" and not path.is_dir():
            yield self._of_table(path)
        else:
            raise UserError(f"{shown}: the model takes features: give a .csv file, or a .npz with 'inputs'")

    def _of_text(self, text: str, name: str) -> GivenInputs:
        given = given_text(text, self.classes, self.input_shape[0])
        remarks = []
        if given.unknown:
            remarks.append(f"{name}: characters that the model does not know: {given.unknown}")
        if given.filled:
            spaces = "1 space was" if given.filled == 1 else f"{given.filled} spaces were"
            remarks.append(
                f"{name}: shorter than the {self.input_shape[0]} characters that the model takes, so"
                f" {spaces} put before it"
            )
        return GivenInputs([name], torch.from_numpy(given.ids[None].copy()), 0, [given.position], remarks)

    def _of_images(self, path: Path) -> Iterator[GivenInputs]:
        files = image_files(path) if path.is_dir() else [path]
        if not files or (not path.is_dir() and path.suffix.lower() not in ENDINGS):
            what = "has no images" if path.is_dir() else "is not an image"
            raise UserError(f"{printable(str(path))} {what} (their names end in {', '.join(ENDINGS)})")
        for file in files:
            pixels = _with_channels(decode_image(file), self.input_shape[0], file)
            fitted = self._fitted(pixels, file)
            resized = int(fitted.shape != pixels.shape)
            yield GivenInputs([printable(str(file))], torch.from_numpy(fitted[None].copy()), resized)

    def _fitted(self, pixels: np.ndarray, file: Path) -> np.ndarray:
        _, height, width = self.input_shape
        if pixels.shape == self.input_shape:
            return pixels
        if height != width:
            raise UserError(
                f"{printable(str(file))} has {pixels.shape[2]}x{pixels.shape[1]} pixels, and the model takes"
                f" {width}x{height}: resize it"
            )
        fitted: np.ndarray = fit(pixels[None], height)[0]
        return fitted

    def _of_arrays(self, path: Path) -> GivenInputs:
        shown = printable(str(path))
        inputs = as_inputs(read_arrays(path, ("inputs",))["inputs"], self.kind, shown)
        if tuple(inputs.shape[1:]) != self.input_shape:
            raise UserError(
                f"{shown}: a sample of 'inputs' has the shape {tuple(inputs.shape[1:])}, and the model takes"
                f" {self.input_shape}"
            )
        last = [self.input_shape[-1] - 1] * len(inputs) if self.kind == "tokens" else []
        return GivenInputs([f"{shown}[{index}]" for index in range(len(inputs))], inputs, 0, last)

    def _of_table(self, path: Path) -> GivenInputs:
        table = read_table(path, self.delimiter)
        if self.encoder is None:
            values = _columns(table, self.input_shape)
        else:
            for name in self.encoder.columns:
                table.check_column(name, "")
            values = self.encoder.encoded(table)
        if values.shape[1:] != self.input_shape:
            raise UserError(
                f"{printable(str(path))}: a row makes {values.shape[1]} inputs, and the model takes"
                f" {self.input_shape}"
            )
        names = [f"{printable(str(path))}:{line}" for line in table.lines]
        return GivenInputs(names, torch.from_numpy(values))


def shortened(text: str, most: int = 30) -> str:
    """Return a name for a text: its end."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"…{line[1 - most :]}"


def _with_channels(pixels: np.ndarray, channels: int, file: Path) -> np.ndarray:
    """Convert RGB pixels to the number of channels that the model takes; grey images stay grey."""
    if channels == len(pixels):
        return pixels
    if channels != 1:
        raise UserError(f"{printable(str(file))} has colours, and the model takes {channels} channels")
    grey = (np.tensordot(_GREY, pixels.astype(np.uint32), axes=1) + 2**15) >> 16
    return grey.astype(np.uint8)[None]


def _columns(table: Table, input_shape: tuple[int, ...]) -> np.ndarray:
    """Return the columns of a numeric table, in their order."""
    if len(input_shape) != 1:
        raise UserError(
            f"{table.path}: the model takes samples of shape {input_shape}, not rows: give a .npz file"
        )
    for name in table.columns:
        numbers = table.numbers(name)
        if numbers is None or np.isnan(numbers).any():
            raise UserError(f"{table.path}: the column '{name}' has values that are missing or not numbers")
    return np.stack([np.array(values, dtype=np.float64) for values in table.columns.values()], axis=1)
