"""Reading the files of a run directory."""

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from common.client_tables import read_counts, read_table
from common.config_values import parse_toml
from common.errors import UserError
from common.files import read_json, read_text
from common.topologies import MAX_CLIENTS

# Columns that may hold text, and columns without empty cells.
_TEXTS = frozenset({"layer", "class", "group", "head"})
_IDS = frozenset({"round", "client_id", "layer", "class", "head"})


class NoDataError(UserError):
    """A file of the run directory is missing, or has no rows yet."""


# Optional files, and the keys that enable them.
_ASKED_FOR = {
    "classes.csv": "evaluate.groups",
    "evaluations.csv": "clients.evaluate-fraction",
    "heads.csv": "analysis.feature-rounds",
    "layers.csv": "method.inco",
    "neural_collapse.csv": "analysis.feature-rounds",
}


class LabelsAtHomeError(NoDataError):
    """The clients of the run did not report their label counts."""


def read_metrics(run_dir: Path) -> pd.DataFrame:
    """Return ``metrics.csv``, one row per round, ascending; rounds without an evaluation hold NaN.

    Raises
    ------
    UserError
        If the file is missing, empty or not such a table.
    """
    table = _read_csv(run_dir, "metrics.csv", ["round"])
    if table["round"].duplicated().any():
        raise UserError(f"{run_dir / 'metrics.csv'} is damaged: it has a round twice")
    return table.sort_values("round", ignore_index=True)


def read_clients(run_dir: Path) -> pd.DataFrame:
    """Return ``clients.csv``, one row per round and client that took part.

    Raises
    ------
    UserError
        If the file is missing, empty or not such a table.
    """
    return _read_csv(run_dir, "clients.csv", ["round", "client_id"])


def read_topology(run_dir: Path) -> pd.DataFrame:
    """Return ``topology.csv`` of a decentralised run: the neighbours each client receives from, first rounds.

    Raises
    ------
    UserError
        If the file is missing, empty or not such a table.
    """
    table = _read_csv(run_dir, "topology.csv", ["round", "client_id", "neighbour"])
    ids = table[["client_id", "neighbour"]]
    if not ids.isin(range(MAX_CLIENTS)).all(axis=None):
        raise UserError(
            f"{run_dir / 'topology.csv'} is damaged: its clients are not numbered 0, 1, 2 and so on"
        )
    return table


def read_evaluations(run_dir: Path) -> pd.DataFrame:
    """Return ``evaluations.csv``: evaluations of clients on their own test data, a row per round and client.

    Raises
    ------
    UserError
        If the file is missing, empty (``clients.evaluate-fraction`` asks for it) or not such a table.
    """
    return _read_csv(run_dir, "evaluations.csv", ["round", "client_id"])


def read_label_distribution(run_dir: Path) -> pd.DataFrame:
    """Return the number of examples per client and class.

    Returns
    -------
    pandas.DataFrame
        One row per client, indexed and sorted by ``client_id``, one column per class.

    Raises
    ------
    UserError
        If the file is missing, empty or not such a table.
    LabelsAtHomeError
        If the clients did not report their labels.
    """
    table = _read_csv(run_dir, "label_distribution.csv", ["client_id", "num_examples"])
    if len(table.columns) == 2:
        raise LabelsAtHomeError(
            f"the clients of {run_dir} did not report their label counts (clients.report-labels = false)"
        )
    table = table.set_index("client_id").sort_index().drop(columns="num_examples")
    counts = read_counts(run_dir / "label_distribution.csv", table.shape[1])
    return table if counts is None else _of_all_clients(dict(zip(table.columns, counts.T, strict=True)))


def read_client_ids(run_dir: Path) -> "pd.Index[int]":
    """Return the ids of all clients, ascending; like ``read_label_distribution``, but needs no labels."""
    try:
        return read_label_distribution(run_dir).index
    except LabelsAtHomeError:
        columns = read_table(run_dir / "label_distribution.csv", ["num_examples"])
    if columns is not None:
        return pd.RangeIndex(len(columns["num_examples"]))
    table = _read_csv(run_dir, "label_distribution.csv", ["client_id", "num_examples"])
    return table.set_index("client_id").sort_index().index


def read_participation(run_dir: Path) -> pd.DataFrame:
    """Return the sampling distribution of cohorts: ``probability``, ``inclusion``, by ``client_id``.

    Raises
    ------
    UserError
        If the file is missing (some schemes have no such distribution), empty or not such a table.
    """
    table = _read_csv(run_dir, "participation.csv", ["client_id", "probability", "inclusion"])
    columns = read_table(run_dir / "participation.csv", ["probability", "inclusion"])
    return table.set_index("client_id").sort_index() if columns is None else _of_all_clients(columns)


def _of_all_clients(columns: Mapping[str, Any]) -> pd.DataFrame:
    table = pd.DataFrame(columns)
    return table.rename_axis(index="client_id")


def read_layers(run_dir: Path) -> pd.DataFrame:
    """Return ``layers.csv``: the measures of InCo, one row per round and target.

    Raises
    ------
    UserError
        If the file is missing (only runs with ``method.inco`` have it), empty or not such a table.
    """
    return _read_csv(
        run_dir, "layers.csv", ["round", "layer", "theta", "beta_positive", "layer_beta", "clipped"]
    )


def read_classes(run_dir: Path) -> pd.DataFrame:
    """Return ``classes.csv``: the global model's accuracy on each class, one row per round and class.

    Raises
    ------
    UserError
        If the file is missing (only runs on long-tailed data, or with ``evaluate.groups``, have it), empty or
        not such a table.
    """
    columns = ["round", "class", "group", "train_examples", "test_accuracy"]
    return _read_csv(run_dir, "classes.csv", columns)


def read_similarities(run_dir: Path) -> pd.DataFrame:
    """Return ``similarity/``: one row per ``round``, ``layer`` and pair of clients, with their ``cka``.

    Raises
    ------
    UserError
        If there is none (``analysis.similarity-rounds`` asks for it), or one is not such a table.
    """
    tables = []
    for server_round, path in _of_rounds(run_dir, "similarity", "csv", "analysis.similarity-rounds"):
        table = _read_csv(path.parent, path.name, ["layer", "client_a", "client_b", "cka"])
        table.insert(0, "round", server_round)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def update_files(run_dir: Path) -> dict[int, Path]:
    """Return round → file of ``updates/``, ascending: changes of the server model by name of the entry.

    Raises
    ------
    UserError
        If there is none (``analysis.update-rounds`` asks for it).
    """
    return dict(_of_rounds(run_dir, "updates", "safetensors", "analysis.update-rounds"))


def read_neural_collapse(run_dir: Path) -> pd.DataFrame:
    """Return ``neural_collapse.csv``: measures of the features of the test images, one row per ``round``.

    Raises
    ------
    UserError
        If the file is missing (``analysis.feature-rounds`` asks for it), empty or not such a table.
    """
    return _read_csv(
        run_dir, "neural_collapse.csv", ["round", "nc1", "nc2_norms", "nc2_angles", "nc3", "nc4"]
    )


def read_heads(run_dir: Path) -> pd.DataFrame:
    """Return ``heads.csv``: ``norm`` and test ``accuracy`` by ``round``, ``head``, ``class``.

    Raises
    ------
    UserError
        If the file is missing (``analysis.feature-rounds`` asks for it), empty or not such a table.
    """
    return _read_csv(run_dir, "heads.csv", ["round", "head", "class", "norm", "accuracy"])


def feature_files(run_dir: Path) -> dict[int, Path]:
    """Return round → file of ``features/``, ascending: class means and variances, and heads.

    Raises
    ------
    UserError
        If there is none (``analysis.feature-rounds`` asks for it).
    """
    return dict(_of_rounds(run_dir, "features", "safetensors", "analysis.feature-rounds"))


def read_summary(run_dir: Path) -> dict[str, Any]:
    """Return ``summary.json``, which a run writes when it ends, or what there is of it before.

    A run that has not ended has its configuration, ``rounds`` and ``seconds`` so far, and ``unfinished``.

    Raises
    ------
    UserError
        If the file is missing, and there is no such run, or it is not such a JSON object.
    """
    if is_unfinished(run_dir):
        return _so_far(run_dir)
    path = _existing_file(run_dir, "summary.json")
    summary = read_json(path)
    if not isinstance(summary, dict) or not isinstance(summary.get("config", {}), dict):
        raise UserError(f"{path} is not the summary of a run")
    for key, value in summary.items():
        if key.startswith(("final.", "best.", "seconds", "rounds")) and not _is_number(value):
            raise UserError(f"{path} is not the summary of a run: '{key}' is not a number")
    return summary


def is_unfinished(run_dir: Path) -> bool:
    """Return whether a run has begun, and not ended."""
    return (run_dir / "config.toml").is_file() and not (run_dir / "summary.json").exists()


def _so_far(run_dir: Path) -> dict[str, Any]:
    metrics, file = read_metrics(run_dir), run_dir / "config.toml"
    seconds = {"seconds": float(metrics["seconds"].sum())} if "seconds" in metrics else {}
    return {
        "config": parse_toml(read_text(file), str(file)),
        "rounds": int(metrics["round"].iloc[-1]),
        **seconds,
        "unfinished": True,
    }


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _of_rounds(run_dir: Path, folder: str, suffix: str, key: str) -> list[tuple[int, Path]]:
    if not run_dir.is_dir():
        raise UserError(f"there is no run directory {run_dir}")
    name = re.compile(rf"round-(\d+)\.{suffix}")
    found = {path: name.fullmatch(path.name) for path in sorted((run_dir / folder).glob("round-*"))}
    rounds = [(int(match[1]), path) for path, match in found.items() if match]
    if not rounds:
        raise NoDataError(f"{run_dir} has no {folder}: runs with {key} do")
    return rounds


def _read_csv(run_dir: Path, name: str, columns: list[str]) -> pd.DataFrame:
    path = _existing_file(run_dir, name)
    text = read_text(path)
    if text and not text.endswith("\n"):
        raise UserError(f"{path} is cut off in its last row")
    try:
        table = pd.read_csv(io.StringIO(text))
    except pd.errors.EmptyDataError as error:
        raise NoDataError(f"{path} is empty") from error
    except (pd.errors.ParserError, ValueError, OverflowError) as error:
        raise UserError(f"{path} is not a readable CSV file: {' '.join(str(error).split())}") from error
    missing = [column for column in columns if column not in table]
    if missing:
        raise UserError(f"{path} has no column {', '.join(missing)}: name a run directory")
    if table.empty:
        raise NoDataError(f"{path} has no rows")
    for column in table:
        if column not in _TEXTS and not pd.api.types.is_numeric_dtype(table[column]):
            raise UserError(f"{path} is damaged: its column '{column}' has values that are not numbers")
    for column in _IDS.intersection(columns):
        if table[column].isna().any():
            raise UserError(f"{path} is damaged: a row has no '{column}'")
    return table


def _existing_file(run_dir: Path, name: str) -> Path:
    if not run_dir.is_dir():
        raise UserError(f"there is no run directory {run_dir}")
    path = run_dir / name
    if not path.is_file():
        why = "it is not a run directory, or the run has not reached that point"
        if name in _ASKED_FOR and (run_dir / "config.toml").is_file():
            why = f"runs with {_ASKED_FOR[name]} do"
        raise NoDataError(f"{run_dir} has no {name}: {why}")
    return path
