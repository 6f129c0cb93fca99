"""HeteroAvg: averaging models of several sizes (Chan et al., ICLR 2024, section 3 and equation 44).

arXiv:2308.11464.
"""

from typing import Annotated, ClassVar, Literal

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from pydantic import Field

from common.config import Config
from common.errors import UserError
from common.records import (
    ARRAYS,
    CONFIG,
    SERVER_ROUND,
    SIZE,
    Payload,
    Tensors,
    config_record,
    to_array,
    to_ndarray,
)
from common.sections import Value
from models.sizes.population import Population
from models.sizes.submodels import EntrySelection, SubModels, take
from strategies._aggregation import WeightedAverage, whole
from strategies._holders import HolderAverage
from strategies._inco_strategy import InCo
from strategies._run_facts import RunFacts


class HeteroAvg(InCo):
    """x[l] <- mean of y_i[l] over the round's clients that hold entry l; entries that none holds stay.

    The mean is over holders only: an entry that a single client of the round holds becomes that client's.
    Clients weigh the same, as in the authors' code, or with ``weighting = "examples"`` n_i among the holders.
    ``delta_divisor`` divides every change, as that code does by the epochs for transformers. BatchNorm
    buffers are averaged as well: variances are kept at least 0, and a counter rises by its mean change,
    rounded down.

    Attributes
    ----------
    population : Population
        The sizes of the clients' models.
    submodels : SubModels
        The entries that each size holds.
    """

    TRANSIENT: ClassVar[tuple[str, ...]] = (
        "population",
        "submodels",
        "held",
        "_average",
        "_cache",
        "_round",
    )

    TAKES_SIZES: ClassVar[bool] = True

    EXAMPLE: ClassVar[dict[str, Value]] = {
        "model.name": "stage-resnet",
        "model.blocks": "1-1-1-2",
        "model.width": 2,
        "model.sizes": "1,1-1-1-2",
        "local.batch-size": 128,
    }

    weighting: Literal["examples", "uniform"] = "uniform"
    delta_divisor: Annotated[float, Field(gt=0, le=1e6)] = 1.0

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self.population: Population | None = None
        self.submodels: SubModels | None = None
        self.held: EntrySelection | None = None
        self._average: HolderAverage | None = None
        self._round = 0
        self._cache: tuple[int, dict[str, EntrySelection]] = (0, {})

    def check(self, config: Config) -> None:
        """Require several sizes."""
        super().check(config)
        if not config.model.sizes:
            raise UserError(
                f"method.name '{config.method.name}' is for clients with models of several sizes: set"
                " model.sizes, such as model.name = 'stage-resnet' with model.sizes = '1,2,3,4,5'"
            )

    def why_not_private(self) -> str:
        """Return the reason: sensitivities differ by size."""
        return "whose clients have models of several sizes"

    def setup(self, run: RunFacts) -> None:
        """Take the clients' sizes, and the entries that each size holds."""
        super().setup(run)
        self.population, self.submodels = run.population, run.submodels

    # Hooks.

    def selection(self, size: str, server_round: int) -> EntrySelection:
        """Return the part of the server's entries that clients of a size hold in a round."""
        assert self.submodels is not None
        return self.submodels.selection(size)

    def values(self, averages: Payload) -> Tensors:
        """Return the new values of the held entries by the method's own rule, in float64."""
        return averages[ARRAYS]

    # Helpers for hooks.

    def part(self, section: Tensors) -> Tensors:
        """Return the part of a server section that the current reply's client holds."""
        return section if self.held is None else self.held.take(section)

    # FedAvg's hooks.

    def update(self, averages: Payload, server_round: int) -> Tensors:
        """Return the next model: held entries by the method's rule and after InCo, the others as they are."""
        start, values = self.global_model, dict(self.values(averages))
        if self.delta_divisor != 1:
            values = {
                name: start[name] + (value - start[name]) / self.delta_divisor
                for name, value in values.items()
            }
        if self.inco:
            assert self._average is not None
            changes = {name: value - start[name] for name, value in values.items()}
            for name, change in self.apply_inco(changes, self._average.held()).items():
                if change is not changes[name]:
                    values[name] = start[name] + change
        for name, value in values.items():
            if not start[name].is_floating_point():
                values[name] = start[name] + whole(value - start[name])
            elif name.endswith("running_var"):
                values[name] = value.clamp(min=0)
        return start | values

    def before_reply(self, reply: Message) -> None:
        """Look up the entries that the reply's client holds."""
        self.held = self._selection_of(reply.metadata.src_node_id, self._round)

    def accumulate(
        self, name: str, average: WeightedAverage, section: Tensors, metrics: MetricRecord
    ) -> None:
        """Add a section to the averages of the entries that the client holds."""
        assert isinstance(average, HolderAverage)
        average.add(section, self.weight(metrics), self.held)

    def build_messages(self, content: RecordDict, message_type: str, grid: Grid) -> list[Message]:
        """Return one message per node, with the size of its sub-model and only the entries that it holds."""
        if self.population is None:
            return super().build_messages(content, message_type, grid)
        config = config_record(content)
        self._round = int(config[SERVER_ROUND])  # type: ignore[arg-type]
        contents: dict[str, RecordDict] = {}
        messages = []
        for node_id in grid.get_node_ids():
            size = self._size_of(node_id, self._round)
            if size not in contents:
                selection = self._selection(size, self._round)
                records = {name: cut(record, selection) for name, record in content.array_records.items()}
                contents[size] = RecordDict({**records, CONFIG: ConfigRecord({**config, SIZE: size})})
            messages.append(Message(contents[size], dst_node_id=node_id, message_type=message_type))
        return messages

    def _reduction(self, section: str, server_round: int) -> WeightedAverage:
        average = HolderAverage(self.global_model, keeps=section == ARRAYS)
        if section == ARRAYS:
            self._average = average
        return average

    def _size_of(self, node_id: int, server_round: int) -> str:
        assert self.population is not None
        return self.population.of_client(self.client_ids[node_id], server_round)

    def _selection_of(self, node_id: int, server_round: int) -> EntrySelection | None:
        if self.population is None:
            return None
        return self._selection(self._size_of(node_id, server_round), server_round)

    def _selection(self, size: str, server_round: int) -> EntrySelection:
        if self._cache[0] != server_round:
            self._cache = (server_round, {})
        if size not in self._cache[1]:
            self._cache[1][size] = self.selection(size, server_round)
        return self._cache[1][size]


def cut(record: ArrayRecord, selection: EntrySelection) -> ArrayRecord:
    """Return the selected part of a serialised section; whole entries are not serialised again."""
    parts = {}
    for name, array in record.items():
        if name in selection.indices:
            indices = selection.indices[name]
            parts[name] = (
                array if not indices else to_array(take(torch.from_numpy(to_ndarray(array)), indices))
            )
    return ArrayRecord(parts)
