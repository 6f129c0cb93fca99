"""The confusion matrix of a run's model on the test set, and its results on each class."""

import csv
import io
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.table import Table

from common.command_line import Parser, make_console
from common.errors import UserError
from common.files import expanded, write_atomic
from common.plugins import use_folders
from datasets.configured import open_dataset
from models import RunModel
from models.measures.confusion import confusion, scores
from runtimes.command import exit_code
from runtimes.prediction.trained import (
    add_model_options,
    check_csv_name,
    configuration_of,
    trained_model,
)

_MAX_COLUMNS = 20
_MAX_PAIRS = 20


def confusion_of(model: RunModel, directory: Path, assignments: Sequence[str]) -> torch.Tensor:
    """Return the confusion matrix on the run's test set, (classes, logits).

    Raises
    ------
    UserError
        If the data are missing, or have no classes.
    """
    if model.card.task == "regression":
        raise UserError("this run predicts numbers: there are no classes to confuse")
    config = configuration_of(directory, assignments)
    use_folders(config.plugins)
    dataset = open_dataset(config)
    if dataset.input_shape != model.card.input_shape:
        raise UserError(
            f"the data are not those of the run: inputs have the shape {dataset.input_shape}, and the model"
            f" takes {model.card.input_shape}"
        )
    if config.dataset.client_noise > 0:
        print("the test set is without the noise of dataset.client-noise", file=sys.stderr)
    test = dataset.test
    # Features are standardised on loading, with the same statistics as the model's.
    network = model.model if dataset.kind == "features" else model
    predicted = torch.cat(
        [_labels(network, batch) for batch in torch.split(test.inputs, config.evaluate.batch_size)]
    )
    return confusion(test.targets, predicted, model.card.outputs)


@torch.no_grad()
def _labels(network: torch.nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    labels: torch.Tensor = network(inputs).argmax(dim=1)
    return labels


def _score_table(names: Sequence[str], matrix: torch.Tensor) -> Table:
    recall, precision, f1 = scores(matrix)
    table = Table("class", "test samples", "accuracy", "precision", "F1")
    for label, name in enumerate(names):
        if matrix[label].sum() or matrix[:, label].sum():
            measured = (recall[label], precision[label], f1[label])
            shown = ["-" if math.isnan(value) else f"{float(value):.2%}" for value in measured]
            table.add_row(name, str(int(matrix[label].sum())), *shown)
    return table


def _matrix_table(names: Sequence[str], matrix: torch.Tensor) -> Table:
    """Return the matrix or, with many classes, the pairs that are confused most often."""
    if len(names) <= _MAX_COLUMNS:
        table = Table("class \\ taken for", *names)
        for name, row in zip(names, matrix.tolist(), strict=True):
            table.add_row(name, *map(str, row))
        return table
    errors = matrix.clone().fill_diagonal_(0)
    table = Table("class", "taken for", "samples")
    counts, places = errors.flatten().sort(descending=True, stable=True)
    for count, place in zip(counts[:_MAX_PAIRS].tolist(), places.tolist(), strict=False):
        if count:
            table.add_row(names[place // len(names)], names[place % len(names)], str(count))
    return table


def _write(path: Path, names: Sequence[str], matrix: torch.Tensor) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class", *names])
    writer.writerows([name, *row] for name, row in zip(names, matrix.tolist(), strict=True))
    write_atomic(path, text.getvalue().encode())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return the exit code."""
    parser = Parser(prog="python -m analysis confusion", description=__doc__)
    add_model_options(parser)
    parser.add_argument("--out", metavar="FILE.csv", help="write the matrix: a row per class")

    def command() -> int:
        options = parser.parse_args(arguments)
        out = None if options.out is None else expanded(options.out, "--out")
        if out is not None:
            check_csv_name(out)
        if out is not None and (out.is_dir() or not out.parent.is_dir()):
            raise UserError(f"--out: cannot write {out}: it is a folder, or its folder is not there")
        model = trained_model(options)
        matrix = confusion_of(model, expanded(options.run_directory, "the command line"), options.set)
        console = make_console()
        console.print(_score_table(model.classes, matrix))
        console.print(_matrix_table(model.classes, matrix))
        total, hits = int(matrix.sum()), int(matrix.diagonal().sum())
        print(f"{hits} of {total} right: {hits / max(1, total):.2%}")
        if out is not None:
            _write(out, model.classes, matrix)
            print(out)
        return 0

    return exit_code(command)


if __name__ == "__main__":
    sys.exit(main())
