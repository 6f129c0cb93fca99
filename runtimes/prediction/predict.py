"""Predict with the model of a finished run, or write the model for use elsewhere."""

import argparse
import csv
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.table import Table
from torch import Tensor

from common.command_line import Parser, make_console
from common.errors import UserError
from common.files import expanded, write_atomic
from datasets.given_inputs import GivenInputs, InputReader
from datasets.tables import Encoder
from models import RunModel
from models.model_card import ModelCard
from runtimes.command import exit_code
from runtimes.prediction.export import export_onnx, export_program
from runtimes.prediction.trained import (
    ALL,
    add_model_options,
    check_csv_name,
    client_models,
    trained_model,
    write_weights,
)

EXAMPLES = """
  python -m analysis predict runs/x photo.png folder-of-photos --out predictions.csv
  python -m analysis predict runs/x --round 40 photo.png
  python -m analysis predict runs/x --client 3 photo.png
  python -m analysis predict runs/x --client all --weights FOLDER
  python -m analysis predict runs/x --text "To be, or not to b"
  python -m analysis predict runs/x --onnx model.onnx
"""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions of a model.

    Attributes
    ----------
    names : list of str
        The name of each input.
    columns : tuple of str
        The names of the classes, or of the predicted numbers.
    values : Tensor
        (inputs, columns): probabilities, or the numbers.
    are_numbers : bool
        Whether the values are numbers instead of probabilities.
    """

    names: list[str]
    columns: tuple[str, ...]
    values: Tensor
    are_numbers: bool

    @classmethod
    def of(cls, model: RunModel, given: GivenInputs) -> "Predictions":
        """Predict."""
        if model.card.task == "regression":
            outputs = model.card.outputs
            columns = ("prediction",) if outputs == 1 else tuple(f"prediction {i}" for i in range(outputs))
            return cls(given.names, columns, model.logits(given.inputs), True)
        logits = model.logits(given.inputs)
        if logits.ndim == 3:  # (texts, classes, positions)
            logits = logits[torch.arange(len(logits)), :, torch.tensor(given.positions)]
        return cls(given.names, model.classes, logits.softmax(dim=1), False)

    def rows(self) -> Iterator[list[str]]:
        """Yield the rows of the file: a header, then the class and all probabilities of each input."""
        likeliest = [] if self.are_numbers else ["prediction"]
        yield [
            "input",
            *likeliest,
            *(column if self.are_numbers else f"p({column})" for column in self.columns),
        ]
        for name, values in zip(self.names, self.values, strict=True):
            best = [] if self.are_numbers else [self.columns[int(values.argmax())]]
            yield [name, *best, *(f"{value:.6g}" for value in values.tolist())]

    def table(self, top: int) -> Table:
        """Return the table to print: the numbers, or the most likely classes."""
        if self.are_numbers:
            table = Table("input", *self.columns)
            for name, values in zip(self.names, self.values, strict=True):
                table.add_row(name, *(f"{value:.6g}" for value in values.tolist()))
            return table
        table = Table("input", "class", "probability", *(["then"] if top > 1 else []))
        for name, values in zip(self.names, self.values, strict=True):
            chosen = values.topk(min(top, len(values)))
            found = [
                (self.columns[label], f"{share:.2%}")
                for label, share in zip(chosen.indices.tolist(), chosen.values.tolist(), strict=True)
            ]
            others = ", ".join(f"{label} {share}" for label, share in found[1:])
            table.add_row(name, *found[0], *([others] if top > 1 else []))
        return table


def input_reader(card: ModelCard) -> InputReader:
    """Return a reader that treats files like those of the run's data set."""
    coding = card.encoding
    if coding is None:
        return InputReader(card.kind, card.input_shape, classes=card.classes)
    encoder = Encoder(coding.columns, coding.means, coding.categories)
    return InputReader(card.kind, card.input_shape, encoder, coding.delimiter)


def predict(options: argparse.Namespace) -> int:
    """Carry out the options of the command line."""
    if options.client == ALL:
        return _write_all_clients(options)
    exports = {"--onnx": options.onnx, "--torch-export": options.torch_export, "--weights": options.weights}
    files = {key: _output(path, key) for key, path in {**exports, "--out": options.out}.items() if path}
    if not options.inputs and not options.text and not any(exports.values()):
        raise UserError("name inputs (files or folders), or a file for --onnx, --torch-export or --weights")
    if options.out:
        check_csv_name(options.out)
    if options.out and not options.inputs and not options.text:
        raise UserError("--out takes the predictions, and no inputs are named")
    model = trained_model(options)
    if options.inputs or options.text:
        paths = [expanded(path, "the command line") for path in options.inputs]
        given = input_reader(model.card).read(paths, options.text)
        _print(Predictions.of(model, given), given, options.top, files.get("--out"))
    if "--weights" in files:
        write_weights(model, files["--weights"])
    if "--torch-export" in files:
        export_program(model, files["--torch-export"])
    remark = export_onnx(model, files["--onnx"]) if "--onnx" in files else ""
    for key, path in files.items():
        print(f"{path} ({remark})" if key == "--onnx" else path)
    return 0


def _write_all_clients(options: argparse.Namespace) -> int:
    """Write the weights of every client's personal model into a folder."""
    others = (options.inputs, options.text, options.out, options.onnx, options.torch_export)
    if any(others) or not options.weights:
        raise UserError(f"--client {ALL} writes a file for each client: it takes --weights FOLDER alone")
    folder = expanded(options.weights, "--weights")
    if (folder.exists() and not folder.is_dir()) or not folder.parent.is_dir():
        raise UserError(f"--weights: cannot write into {folder}: it is a file, or its folder is not there")
    for client_id, model in client_models(options):
        folder.mkdir(exist_ok=True)
        path = folder / f"client-{client_id:06d}.safetensors"
        write_weights(model, path)
        print(path)
    return 0


def _print(predictions: Predictions, given: GivenInputs, top: int, out: Path | None) -> None:
    for remark in given.remarks:
        print(remark, file=sys.stderr)
    if given.num_resized:
        print(f"resized to the model's size: {given.num_resized} of the images", file=sys.stderr)
    make_console().print(predictions.table(top))
    if out is not None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(predictions.rows())
        try:
            write_atomic(out, text.getvalue().encode())
        except OSError as error:
            raise UserError(f"--out: cannot write {out}: {error.strerror or error}") from None


def _output(path: str, key: str) -> Path:
    """Return the path of an output file, if it can be written."""
    file = expanded(path, key)
    if file.is_dir() or not file.parent.is_dir():
        reason = "it is a folder" if file.is_dir() else f"there is no folder {file.parent}"
        raise UserError(f"{key}: cannot write {file}: {reason}")
    return file


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("it must be at least 1")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return the exit code."""
    parser = Parser(
        prog="python -m analysis predict",
        description=__doc__,
        epilog=f"examples:{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model_options(parser)
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="INPUT",
        help="images, or folders of them; .csv with the columns of the data set; .txt; .npz with 'inputs'",
    )
    parser.add_argument(
        "--text",
        action="append",
        default=[],
        metavar="TEXT",
        help="predict the next character of this text",
    )
    parser.add_argument("--top", type=_positive, default=3, metavar="N", help="classes to show (default 3)")
    parser.add_argument("--out", metavar="FILE.csv", help="write the predictions, with all probabilities")
    parser.add_argument("--onnx", metavar="FILE", help="write the model as ONNX")
    parser.add_argument("--torch-export", metavar="FILE", help="write the model for torch.export.load()")
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="write the weights in the format of a run's model.safetensors; with --client all, into a folder",
    )
    return exit_code(lambda: predict(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
