"""Sections on local training."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from common.phases import Phases
from common.sections.base import (
    ConfigSection,
    NamedSection,
    NonNegative,
    NonNegativeFloat,
    OpenSection,
    PhaseList,
    Positive,
)


class StepsSection(OpenSection):
    """Local steps that change from round to round (``server/local_steps.py``)."""

    rule: str
    min: Positive
    max: Positive
    interval: Positive

    @property
    def choice(self) -> str:
        """What is named."""
        return self.rule

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"steps.min = {self.min} must not be above steps.max = {self.max}")
        return self


class LocalSection(ConfigSection):
    """Local training: its budget, the order of its samples, numerical options."""

    epochs: NonNegative
    steps: NonNegative
    batch_size: Positive
    precision: Literal["float32", "bfloat16"]
    channels_last: bool
    compile: bool
    sampling: Literal["client", "shard", "shuffle", "replacement"]
    steps_per_epoch: NonNegative
    world_size: Positive
    total_steps: NonNegative
    phases: PhaseList
    drop_last: bool
    single_sample_batches: Literal["train", "skip"]

    def step_plan(self) -> Phases:
        """Return the local steps of each round, if the budget is in steps (``local.steps``)."""
        return Phases.parse(self.steps, self.phases, self.total_steps)

    def steps_per_pass(self, num_examples: int) -> int:
        """Return the number of mini-batches of one pass over a client's samples.

        With ``drop-last`` a last, smaller batch does not count, with ``single-sample-batches = "skip"`` one
        of a single sample, unless it is the client's only batch.
        """
        full, rest = divmod(num_examples, self.batch_size)
        is_left_out = self.drop_last or (self.single_sample_batches == "skip" and rest == 1)
        return full + (rest > 0 and not (full and is_left_out))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        given = {"phases": self.phases, "total-steps": self.total_steps}
        given["sampling"] = self.sampling in ("shuffle", "replacement")
        for key, value in given.items():
            if value and self.steps == 0:
                raise ValueError(f"local.{key} needs local.steps, a budget in steps, instead of local.epochs")
        if self.steps:
            self.step_plan()
        if (self.epochs > 0) == (self.steps > 0):
            raise ValueError("set exactly one of local.epochs and local.steps above 0")
        if self.drop_last and self.sampling != "client":
            raise ValueError("local.drop-last needs local.sampling = 'client'")
        if self.single_sample_batches == "skip" and (self.batch_size == 1 or self.sampling != "client"):
            raise ValueError(
                "local.single-sample-batches = 'skip' needs local.batch-size above 1, and local.sampling ="
                " 'client'"
            )
        return self


class OptimizerSection(NamedSection):
    """The local optimiser (``clients/local/optimizers``), and the settings that all optimisers share."""

    learning_rate: Annotated[float, Field(gt=0)]
    learning_rate_scaling: Literal["none", "linear", "sqrt"]
    reference_batch_size: Positive
    clip_norm: NonNegativeFloat

    def batch_factor(self, batch_size: int) -> float:
        """Return the factor of the learning rate for a batch size.

        B / B_ref (``linear``; Goyal et al. 2017), its square root (``sqrt``; You et al. 2020), or 1.
        """
        ratio = batch_size / self.reference_batch_size
        return {"none": 1.0, "linear": ratio, "sqrt": math.sqrt(ratio)}[self.learning_rate_scaling]


class ScheduleSection(NamedSection):
    """How the learning rate changes: warm-up, phases, and the schedule (``common/schedules``)."""

    warmup_rounds: NonNegative
    warmup_epochs: Annotated[float, Field(ge=0, le=1e6)]
    warmup_steps: NonNegative
    warmup_learning_rate: NonNegativeFloat
    phase_gamma: Annotated[float, Field(gt=0, le=1000)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.warmup_steps > 0) + (self.warmup_rounds > 0) + (self.warmup_epochs > 0) > 1:
            raise ValueError(
                "set one of schedule.warmup-steps, schedule.warmup-rounds and schedule.warmup-epochs, not"
                " several"
            )
        return self


class PrivacySection(ConfigSection):
    """Client-level central differential privacy (``strategies/_privacy.py``); off by default."""

    clipping: Literal["off", "fixed", "adaptive"]
    clip_norm: Annotated[float, Field(gt=0)]
    noise_multiplier: NonNegativeFloat
    delta: Annotated[float, Field(gt=0, lt=1)]
    relation: Literal["replace-one", "zero-out"]
    target_quantile: Annotated[float, Field(ge=0, le=1)]
    clip_learning_rate: Annotated[float, Field(ge=0)]
    count_noise: NonNegativeFloat

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.noise_multiplier > 0 and self.clipping == "off":
            raise ValueError("privacy.noise-multiplier needs privacy.clipping = 'fixed' or 'adaptive'")
        return self
