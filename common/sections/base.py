"""Base classes and types of the sections of the configuration."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Value = bool | int | float | str

MAX_CLIENTS = 10_000_000  # arrays by client must fit into memory

Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[int, Field(ge=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0, le=1e9)]
# A list of rounds; a single round may be written as a number.
Rounds = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value)]
PhaseList = Rounds  # so may a single phase


class ConfigSection(BaseModel):
    """A section with fixed keys, spelled with dashes."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        alias_generator=lambda name: name.replace("_", "-"),
    )


class OpenSection(ConfigSection):
    """A section in which one key makes a choice; keys that are not fixed are the choice's parameters."""

    model_config = ConfigDict(extra="allow")

    @property
    def choice(self) -> str:
        """The chosen name."""
        raise NotImplementedError

    @classmethod
    def fixed_keys(cls) -> tuple[str, ...]:
        """Return the keys that are fixed, in their configuration spelling."""
        return tuple(field.alias or name for name, field in cls.model_fields.items())

    @property
    def parameters(self) -> dict[str, Value]:
        """The keys that are not fixed, in their configuration spelling."""
        return dict(self.model_extra or {})


class NamedSection(OpenSection):
    """An open section in which the key ``name`` makes the choice."""

    name: str

    @property
    def choice(self) -> str:
        """The chosen name."""
        return self.name
