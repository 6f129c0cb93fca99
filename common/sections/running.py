"""Sections on the run directory, the runtime, resources and checkpoints."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator, model_validator

from common.errors import shown
from common.round_list import RoundList
from common.sections.base import MAX_CLIENTS, ConfigSection, NonNegative, NonNegativeFloat, Positive, Rounds
from common.sections.evaluation import numbers_by_phase

KEPT_NAMES = frozenset({"decay", "best"})  # in ``checkpoint.keep``, next to rounds


class RunSection(ConfigSection):
    """Where the run directory is and whether the run continues from its checkpoint."""

    directory: str
    resume: bool


class RuntimeSection(ConfigSection):
    """Which Grid carries the messages of ``run_simulation.py``; ``workers`` 0 means as many as fit.

    ``stack`` is how many clients train at once in one process: with 0 this is measured at the start; -1 means
    0 on a GPU and 1 on a CPU.
    """

    name: Literal["sequential", "threads", "ray"]
    workers: NonNegative
    stack: Annotated[int, Field(ge=-1)]


class RaySection(ConfigSection):
    """``address`` of a Ray cluster; empty starts Ray on this machine."""

    address: str


def _part_of_gpus(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        share = validate(value)
    except ValidationError:
        share = -1.0
    if share != "auto" and (share < 0 or (share > 1 and share % 1)):
        raise ValueError(
            "resources.gpus-per-client must be a number from 0 to 1, a whole number of GPUs, or 'auto', not"
            f" {shown(value)}"
        )
    return share


class ResourcesSection(ConfigSection):
    """Resources of a client, a worker and a node; the share of a GPU may be measured."""

    cpus_per_client: Annotated[float, Field(gt=0)]
    gpus_per_client: Annotated[NonNegativeFloat | Literal["auto"], WrapValidator(_part_of_gpus)]
    threads_per_worker: Annotated[int, Field(gt=0, le=1024)]
    clients_per_node: Annotated[int, Field(gt=0, le=MAX_CLIENTS)]


class StateSection(ConfigSection):
    """How much of the clients' state stays in memory between rounds."""

    memory_budget: NonNegative


class CheckpointSection(ConfigSection):
    """When checkpoints are committed (always after the last round), and which are kept."""

    every: Positive
    minutes: NonNegativeFloat
    keep: Rounds
    keep_by_phase: Rounds

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        try:
            # A name may take the place of a round.
            parts = ("1" if part.strip() in KEPT_NAMES else part for part in self.keep.split(","))
            RoundList(",".join(parts), "checkpoint.keep")
        except ValueError as error:
            raise ValueError(f"{error} (or 'decay', or 'best')") from None
        numbers_by_phase(self.keep_by_phase, "checkpoint.keep-by-phase")
        return self

    @property
    def kept_names(self) -> frozenset[str]:
        """Which of `KEPT_NAMES` are named."""
        return frozenset(part.strip() for part in self.keep.split(",")) & KEPT_NAMES

    @property
    def kept_rounds(self) -> str:
        """The rest of ``checkpoint.keep``, a list of rounds."""
        parts = self.keep.split(",") if self.keep.strip() else []
        return ",".join(part for part in parts if part.strip() not in KEPT_NAMES)
