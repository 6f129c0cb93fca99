"""Sections on evaluation, early stopping, and what is recorded for the analyses."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from common.round_list import RoundList
from common.sections.base import ConfigSection, NonNegative, NonNegativeFloat, Positive, Rounds

Metric = Literal["test_accuracy", "test_loss", "validation_accuracy", "validation_loss", "train_loss"]


def lower_is_better(metric: str) -> bool:
    """Return whether smaller values of a metric are better: losses and errors, also of a group or variant."""
    return bool({"loss", "mse", "mae"} & set(re.split(r"[_|]", metric)))


def numbers_by_phase(text: str, key: str) -> tuple[int, ...]:
    """Read a number of rounds for each phase, ``"2,2,1"``; empty: none.

    Raises
    ------
    ValueError
        If it is not such a list.
    """
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    if not all(part.isascii() and part.isdigit() and len(part) < 10 and int(part) for part in parts):
        raise ValueError(f"{key} must list a number of rounds for each phase, such as '2,2,1', not '{text}'")
    return tuple(map(int, parts))


class EvaluateSection(ConfigSection):
    """Evaluation: how often, in rounds or local steps; on what; the batch size; groups of classes."""

    every: Positive
    every_by_phase: Rounds
    every_steps: NonNegative
    count: NonNegative
    first: bool
    test: bool
    batch_size: Positive
    precision: Literal["float32", "bfloat16"]
    groups: Literal["auto", "none", "cumulative", "counts"]
    mask: Literal["train-counts", "test-counts", "none"]
    drop_last: bool

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        numbers_by_phase(self.every_by_phase, "evaluate.every-by-phase")
        given = {
            "evaluate.count": self.count,
            "evaluate.every-steps": self.every_steps,
            "evaluate.every-by-phase": self.every_by_phase,
        }
        if len(both := [key for key, value in given.items() if value]) > 1:
            raise ValueError(f"set one of {both[0]} and {both[1]}, not both")
        return self


class StopSection(ConfigSection):
    """Early stopping: ``patience`` evaluations without a better ``metric``, or ``target`` reached; 0: off."""

    metric: Metric
    patience: NonNegative
    target: NonNegativeFloat

    @property
    def is_on(self) -> bool:
        """Whether a run may end early."""
        return self.patience > 0 or self.target > 0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.metric.endswith("accuracy") and self.target > 1:
            raise ValueError(
                f"stop.target = {self.target:g} is never reached: '{self.metric}' is between 0 and 1"
            )
        return self


class AnalysisSection(ConfigSection):
    """What is drawn and recorded for ``analysis/``, and in which rounds (``server/observers/``)."""

    draw: bool
    similarity_rounds: Rounds
    images: Annotated[int, Field(ge=4)]
    update_rounds: Rounds
    update_layers: str
    feature_rounds: Rounds
    sharpness_images: NonNegative
    sharpness_probes: Annotated[int, Field(gt=0, le=1_000_000)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        RoundList(self.similarity_rounds, "analysis.similarity-rounds")
        RoundList(self.update_rounds, "analysis.update-rounds")
        RoundList(self.feature_rounds, "analysis.feature-rounds")
        return self
