"""Summaries of the clients' metrics."""

from collections.abc import Mapping

import numpy as np

from models.measures.class_report import GROUP_NAMES
from models.measures.own import COUNT_OF

ClientMetrics = Mapping[int, Mapping[str, float]]
_ACCURACIES = ("accuracy", "accuracy_masked")
# The groups of classes differ between clients, and not every client has samples of each.
OF_GROUPS = tuple(f"_{group}" for group in GROUP_NAMES)


def reported(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return a client's metrics without the counts by which means are weighted."""
    return {
        name: value
        for name, value in metrics.items()
        if name != "num-examples" and not name.startswith(COUNT_OF)
    }


def weighted_mean(metrics: ClientMetrics, name: str) -> float | None:
    """Average a client metric, weighted by its own count or by examples; None without clients."""
    weight = f"{COUNT_OF}{name}"
    rows = [(row.get(weight, row["num-examples"]), row[name]) for row in metrics.values() if name in row]
    total = sum(count for count, _ in rows)
    return sum(count * value for count, value in rows) / total if total else None


def summarise_training(metrics: ClientMetrics) -> dict[str, float | None]:
    """Return the training metrics that all clients have (``train_*``), averaged with weights by examples."""
    names = [{name for name in row if name.startswith("train_")} for row in metrics.values()]
    shared = set.intersection(*names) if names else set()
    return {name: weighted_mean(metrics, name) for name in sorted(shared - {"train_loss"})}


def summarise_evaluations(
    metrics: ClientMetrics, sizes: Mapping[int, str] | None = None
) -> dict[str, float | None]:
    """Return the columns of ``metrics.csv`` that summarise the clients' evaluations.

    A client's ``loss`` and ``accuracy`` are those of the global model: ``federated_*``. Each metric is
    averaged over the clients weighted by examples (micro). Accuracies have further columns: ``_macro``, the
    plain mean over clients; ``_worst_decile``, the mean of the worst tenth of them, at least one; ``_p10``
    and ``_p90``, percentiles. Accuracies of groups of classes (``accuracy_head``) are plain means over the
    clients that have test samples of the group. Clients without test data, which measure nothing, are left
    out.

    Parameters
    ----------
    metrics : Mapping[int, Mapping[str, float]]
        client id → its metrics, and ``num-examples``.
    sizes : Mapping[int, str], optional
        client id → size of its sub-model, empty for the whole model. Every metric has a further column per
        size, ``federated_accuracy_<size>``: the micro average over the clients of that size.
    """
    metrics = {client_id: row for client_id, row in metrics.items() if set(row) > {"num-examples"}}
    names = sorted({name for row in metrics.values() for name in row} - {"num-examples"})
    names = [name for name in names if not name.startswith(COUNT_OF)]
    columns: dict[str, float | None] = {}
    for name in names:
        column = _column(name)
        values = np.sort([row[name] for row in metrics.values() if name in row])
        if name.endswith(OF_GROUPS):
            columns[column] = float(values.mean())
            continue
        columns[column] = weighted_mean(metrics, name)
        if name.endswith((*_ACCURACIES, "_f1")):
            columns[f"{column}_macro"] = float(values.mean())
        if name.endswith(_ACCURACIES):
            columns[f"{column}_worst_decile"] = float(values[: max(1, len(values) // 10)].mean())
            columns[f"{column}_p10"], columns[f"{column}_p90"] = map(float, np.quantile(values, (0.1, 0.9)))
    by_size: dict[str, dict[int, Mapping[str, float]]] = {}
    for client_id, row in metrics.items():
        if size := (sizes or {}).get(client_id):
            by_size.setdefault(size, {})[client_id] = row
    for size, rows in by_size.items():
        columns |= {f"{_column(name)}_{size}": weighted_mean(rows, name) for name in names}
    return columns


def aggregated_evaluations(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the columns for what a strategy has aggregated of the clients' evaluations itself."""
    return {_column(name): value for name, value in reported(metrics).items()}


def aggregated_training(metrics: Mapping[str, float], of_clients: ClientMetrics) -> dict[str, float]:
    """Return the columns for what a strategy has aggregated of the clients' training itself.

    Means of what the clients report are left out, except for ``train_*``: the row has its own.
    """
    known = {name for row in of_clients.values() for name in row}
    return {name: x for name, x in metrics.items() if name not in known or name.startswith("train_")}


def _column(name: str) -> str:
    return name if name.startswith("personal_") else f"federated_{name}"
