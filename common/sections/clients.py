"""Sections on the clients: their number, speed, topology, failures and attacks."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from common.sections.base import (
    MAX_CLIENTS,
    ConfigSection,
    NamedSection,
    NonNegativeFloat,
    OpenSection,
    Seconds,
)


class ClientsSection(ConfigSection):
    """How many clients there are (0: as many as nodes) and which fraction trains and evaluates in a round."""

    count: Annotated[int, Field(ge=0, le=MAX_CLIENTS)]
    fraction: Annotated[float, Field(gt=0, le=1)]
    evaluate_fraction: Annotated[float, Field(ge=0, le=1)]
    test_data: Literal["class-weighted", "training-distribution"]
    report_labels: bool


class StragglersSection(ConfigSection):
    """Clients that complete only part of a round's work, and whether their updates are used."""

    fraction: Annotated[float, Field(ge=0, le=1)]
    smallest_share: Annotated[float, Field(ge=0, lt=1)]
    policy: Literal["keep", "drop"]

    @model_validator(mode="after")
    def _somebody_is_in_time(self) -> Self:
        if self.policy == "drop" and self.fraction == 1:
            raise ValueError(
                "stragglers.fraction = 1 with stragglers.policy 'drop' leaves no client to train: lower it"
            )
        return self


class ClockSection(OpenSection):
    """How fast clients compute and send on a virtual clock (``common/clock.py``, ``common/clocks``)."""

    profile: str
    jitter: NonNegativeFloat
    seconds_per_step: Seconds
    latency: Seconds
    bandwidth: NonNegativeFloat
    bandwidth_spread: Annotated[float, Field(ge=0, le=100)]

    @property
    def choice(self) -> str:
        """The chosen name."""
        return self.profile

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.bandwidth_spread and not self.bandwidth:
            raise ValueError("clock.bandwidth-spread needs clock.bandwidth, its median, above 0")
        return self


class TopologySection(NamedSection):
    """Who exchanges models with whom in decentralised methods, and the weights (``common/topologies``)."""

    weights: Literal["metropolis", "lazy-metropolis"]


class FailuresSection(ConfigSection):
    """What happens when a client fails."""

    policy: Literal["raise", "drop"]
    max_fraction: Annotated[float, Field(ge=0, lt=1)]
    timeout: Annotated[float, Field(gt=0, le=1e8)]
    deadline: Annotated[float, Field(ge=0, le=1e8)]


class AttackSection(NamedSection):
    """Malicious clients: their attack (``clients/local/attacks``), and their fraction."""

    fraction: Annotated[float, Field(ge=0, le=1)]


class CompressionSection(NamedSection):
    """How the changes of models are sent (``common/compressions``), and whether clients keep what is lost."""

    error_feedback: bool
