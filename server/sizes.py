"""Sub-models as a run's configuration asks for them."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from torch import nn

from common.config import Config
from common.errors import UserError
from common.files import expanded, read_text, write_atomic
from models.sizes.early_exits import MultiExit
from models.sizes.population import Population, read_sizes
from models.sizes.submodels import SubModels, as_splittable, parse_sizes
from server.messages.client_registry import ClientRegistry
from strategies.fedavg import FedAvg


def make_population(config: Config, model: nn.Module) -> Population | None:
    """Return the sizes of the run's clients; None if all train the whole model.

    Raises
    ------
    UserError
        If ``model.sizes`` or ``model.size-file`` is impossible.
    """
    section = config.model
    if not section.sizes:
        if section.size_file:
            raise UserError("model.size-file needs model.sizes: the list of the sizes that are in it")
        return None
    groups = parse_sizes(model, section.sizes)
    fixed = None
    if section.size_file:
        fixed = [
            as_splittable(model).size_name(size) for size in _read(section.size_file, config.clients.count)
        ]
        if unknown := sorted(set(fixed) - set(groups)):
            raise UserError(f"model.size-file has the size '{unknown[0]}', which is not in model.sizes")
    return Population(groups, config.clients.count, section.size_assignment, config.seed, fixed)


def check_sizes(
    config: Config,
    strategy: FedAvg,
    model: nn.Module,
    population: Population | None,
    clients: ClientRegistry,
) -> None:
    """Refuse a model or sizes that the method cannot work with.

    Raises
    ------
    UserError
        If the model has exits that nobody would train, or clients keep tensors of a size that changes.
    """
    name = config.method.name
    if isinstance(model, MultiExit) and model.num_levels > 1 and not strategy.TRAINS_EXITS:
        raise UserError(
            f"'{name}' does not train early exits: leave model.exits empty, or choose a method that does,"
            " such as 'scalefl'"
        )
    if population is not None and population.is_dynamic and clients.keeps_state:
        raise UserError(
            f"clients of '{name}' keep tensors of their size between rounds: model.size-assignment cannot be"
            " 'dynamic'"
        )


def size_remarks(submodels: SubModels | None, population: Population | None) -> Iterator[str]:
    """Yield remarks: the number of clients of each size, and entries that no client trains."""
    if population is None or submodels is None:
        return
    for size in population.sizes:
        share = f"{submodels.num_values(size)} values"
        if not population.is_dynamic:
            share = f"{population.has_size(size).sum()} clients, {share}"
        yield f"size '{size}': {share}"
    if missing := submodels.missing():
        yield f"no size holds '{missing[0]}' ({len(missing)} entries of the server model stay as they are)"


def write_sizes(path: Path, population: Population | None) -> None:
    """Write ``client_id,size`` for every client, unless sizes change from round to round."""
    if population is None or population.is_dynamic:
        return
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["client_id", "size"])
    writer.writerows(enumerate(population.of_clients()))
    write_atomic(path, table.getvalue().encode())


def _read(path: str, num_clients: int) -> list[str]:
    sizes = read_sizes(read_text(expanded(path, "model.size-file"), "model.size-file"), path)
    if len(sizes) != num_clients:
        raise UserError(f"model.size-file names {len(sizes)} clients, but clients.count is {num_clients}")
    return sizes
