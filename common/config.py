"""The one configuration: flat dotted keys, typed and validated here, defaults in ``pyproject.toml``.

Flower hands an app its run configuration as a flat mapping such as ``{"local.steps": 10}``. Sections that
name a thing, such as ``method`` or ``optimizer``, are open: their keys that are not fixed are parameters of
the thing named, which declares and limits them.
"""

import functools
import math
from collections.abc import Container, Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from common.clocks import clock_profile
from common.config_values import TOO_LARGE, expanded
from common.defaults import default_values, flatten
from common.errors import UserError, complaint, nearest, shown, wrong_value
from common.plugins import use_folders
from common.reading import is_text
from common.renamed_keys import RENAMED
from common.schedules import schedule_of
from common.sections import (
    AnalysisSection,
    AttackSection,
    AugmentationSection,
    BatchNormSection,
    CheckpointSection,
    ClientsSection,
    ClockSection,
    CompressionSection,
    ConfigSection,
    DatasetSection,
    EvaluateSection,
    FailuresSection,
    LocalSection,
    ModelSection,
    NamedSection,
    OpenSection,
    OptimizerSection,
    PartitionSection,
    Positive,
    PrivacySection,
    RaySection,
    ResourcesSection,
    RunSection,
    RuntimeSection,
    ScheduleSection,
    StateSection,
    StepsSection,
    StopSection,
    StragglersSection,
    TopologySection,
    Value,
    numbers_by_phase,
)
from common.step_rules import StepRule, step_rule

_TABLES = ("axes", "cells", "report", "search")  # of experiment files
# The range of float32, in which models are computed; numbers outside it are 0 or infinite.
_MIN, _MAX = 1e-38, 3.403e38


class Config(ConfigSection):
    """The whole validated configuration; attributes are the sections of the dotted keys."""

    rounds: Positive
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    device: str
    overrides: str
    plugins: str
    observers: str
    tracking: str
    metrics: str
    run: RunSection
    clients: ClientsSection
    participation: NamedSection
    stragglers: StragglersSection
    clock: ClockSection
    topology: TopologySection
    steps: StepsSection
    local: LocalSection
    optimizer: OptimizerSection
    schedule: ScheduleSection
    loss: NamedSection
    augmentation: AugmentationSection
    attack: AttackSection
    compression: CompressionSection
    dataset: DatasetSection
    partition: PartitionSection
    model: ModelSection
    batch_norm: BatchNormSection
    method: NamedSection
    privacy: PrivacySection
    evaluate: EvaluateSection
    stop: StopSection
    runtime: RuntimeSection
    ray: RaySection
    resources: ResourcesSection
    failures: FailuresSection
    state: StateSection
    checkpoint: CheckpointSection
    analysis: AnalysisSection

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.evaluate.test:
            self._check_without_test()
        if (rule := step_rule(self.steps)).decides:
            self._check_decided_steps(rule)
        elif self.local.total_steps and self.local.step_plan().steps(self.rounds) == 0:
            enough = self.local.step_plan().num_rounds(self.local.total_steps)
            raise ValueError(
                f"local.total-steps = {self.local.total_steps} are done after {enough} rounds: set rounds to"
                f" {enough}, not {self.rounds}"
            )
        self._check_nodes()
        schedule_of(self.schedule)
        clock_profile(self.clock)
        factor = self.optimizer.batch_factor(self.local.batch_size)
        if self.schedule.warmup_learning_rate > self.optimizer.learning_rate * factor:
            raise ValueError(
                "schedule.warmup-learning-rate must not be above optimizer.learning-rate (as scaled), where"
                " the warm-up ends"
            )
        if self.evaluate.every_steps and self.local.steps == 0:
            raise ValueError("evaluate.every-steps needs local.steps, a budget in steps")
        self._check_phases()
        return self

    def _check_nodes(self) -> None:
        """Refuse client counts that do not fill the nodes, and per-node data with several clients a node."""
        count, share = self.clients.count, self.resources.clients_per_node
        if count % share:
            raise ValueError(
                f"clients.count = {count} is not a multiple of resources.clients-per-node = {share}: every"
                " node serves the same number of clients"
            )
        if share > 1 and self.partition.name == "node":
            raise ValueError(
                "partition.name = 'node' needs resources.clients-per-node = 1: a node's data are one client's"
            )

    def _check_phases(self) -> None:
        """Refuse per-phase lists whose length is not the number of phases."""
        num_phases = 1 + len(self.local.step_plan().last_rounds) if self.local.steps else 1
        lists = {
            "evaluate.every-by-phase": self.evaluate.every_by_phase,
            "checkpoint.keep-by-phase": self.checkpoint.keep_by_phase,
        }
        for key, text in lists.items():
            given = len(numbers_by_phase(text, key))
            if given and not self.local.phases:
                raise ValueError(f"{key} needs local.phases")
            if given not in (0, num_phases):
                raise ValueError(f"{key} lists {given} numbers, and local.phases makes {num_phases} phases")

    def _check_without_test(self) -> None:
        """Refuse settings that use test data while ``evaluate.test`` is off."""
        looking = {
            f"stop.metric = '{self.stop.metric}'": self.stop.is_on and self.stop.metric.startswith("test"),
            "clients.evaluate-fraction above 0": self.clients.evaluate_fraction > 0,
            "analysis.similarity-rounds": bool(self.analysis.similarity_rounds),
            "analysis.feature-rounds": bool(self.analysis.feature_rounds),
        }
        for key, looks in looking.items():
            if looks:
                raise ValueError(f"evaluate.test = false keeps test data out, and {key} looks at them")

    def _check_decided_steps(self, rule: StepRule) -> None:
        """Refuse settings that need the steps of future rounds if a rule decides them during the run."""
        name, schedule = self.steps.rule, self.schedule
        plan = {"local.phases": self.local.phases, "evaluate.every-steps": self.evaluate.every_steps}
        for key, value in plan.items():
            if value:
                raise ValueError(
                    f"{key} cannot be combined with steps.rule '{name}', which decides during the run"
                )
        if self.local.steps == 0:
            raise ValueError(f"steps.rule '{name}' needs local.steps, with which it begins")
        if schedule_of(schedule).varies_by_step and not self.local.total_steps:
            raise ValueError(
                f"schedule.name '{schedule.name}' needs local.total-steps with steps.rule '{name}'"
            )
        if rule.looks_at_rate and schedule.warmup_epochs:
            raise ValueError(
                f"steps.rule '{name}' looks at the rate: count its warm-up in schedule.warmup-steps"
            )

    def evaluates(self, server_round: int) -> bool:
        """Return whether the model is evaluated centrally after a round.

        With ``evaluate.every-steps`` = n, after the rounds that contain a client's n-th, 2 n-th, ... step;
        with ``evaluate.count``, after that many evenly spaced rounds; with ``evaluate.every-by-phase``, after
        every n-th round of a phase, where each phase has its own n. The last round of the run and of each
        phase is always evaluated.
        """
        every, plan = self.evaluate.every_steps, self.local.step_plan()
        if server_round in (self.rounds, *plan.last_rounds):
            return True
        if self.evaluate.count:
            return server_round in evenly_spread(self.rounds, self.evaluate.count)
        if by_phase := numbers_by_phase(self.evaluate.every_by_phase, "evaluate.every-by-phase"):
            return plan.is_due(server_round, by_phase)
        if not every:
            return server_round % self.evaluate.every == 0
        return plan.first_step(server_round + 1) // every > plan.first_step(server_round) // every

    @property
    def needs_squared_losses(self) -> bool:
        """Whether clients measure the mean square of their losses, which Oort's utility needs."""
        return self.participation.name == "oort"

    @property
    def class_groups(self) -> Literal["none", "cumulative", "counts"]:
        """The rule for head, middle and tail classes; ``auto`` has groups only for long-tailed data."""
        if self.evaluate.groups != "auto":
            return self.evaluate.groups
        return "cumulative" if self.dataset.imbalance_factor < 1 else "none"

    @classmethod
    def from_flat(cls, values: Mapping[str, Value]) -> "Config":
        """Validate a flat mapping of all dotted keys, and make its ``plugins`` the process's plug-in folders.

        Raises
        ------
        UserError
            One line with an unknown key and the nearest known one, or a wrong value and what is expected.
        """
        values = expanded(values)
        use_folders(values.get("plugins", ""))
        _check_keys(values)
        nested: dict[str, Any] = {}
        for key, value in values.items():
            section, _, name = key.rpartition(".")
            (nested.setdefault(section, {}) if section else nested)[name] = value
        try:
            return cls.model_validate(nested)
        except ValidationError as error:
            raise UserError(_describe(error)) from None

    def __hash__(self) -> int:
        """Hash only a few keys: every job looks up cached objects by the configuration."""
        return hash((self.seed, self.rounds, self.run.directory))

    def flat(self) -> dict[str, Value]:
        """Return the configuration as the flat mapping of dotted keys that ``from_flat`` takes."""
        return flatten(self.model_dump(by_alias=True))

    def with_clients(self, count: int) -> "Config":
        """Return the configuration with a number of clients, if ``clients.count`` leaves it to the nodes."""
        return self.model_copy(update={"clients": self.clients.model_copy(update={"count": count})})

    def with_stack(self, size: int) -> "Config":
        """Return the configuration with a number of clients that train at once."""
        return self.model_copy(update={"runtime": self.runtime.model_copy(update={"stack": size})})

    def with_gpus_per_client(self, part: float) -> "Config":
        """Return the configuration with the share of the GPUs that one Ray worker takes."""
        resources = self.resources.model_copy(update={"gpus_per_client": part})
        return self.model_copy(update={"resources": resources})


@functools.lru_cache(maxsize=8)  # asked in every round
def evenly_spread(num_rounds: int, count: int) -> Container[int]:
    """Return 1 + round((i + 1) (R - 1) / E) for i = 0, ..., E - 1, halves to even, each once.

    The evaluations of Bao, Crawshaw and Liu (ICML 2024, code).
    """
    if count >= 2 * num_rounds:  # steps of at most a half: every round
        return range(1, num_rounds + 1)
    return frozenset(1 + round((index + 1) * (num_rounds - 1) / count) for index in range(count))


@functools.cache
def _known_keys() -> tuple[set[str], tuple[str, ...]]:
    """Return all fixed dotted keys and the prefixes of the open sections."""
    keys: set[str] = set()
    open_prefixes: list[str] = []
    for name, field in Config.model_fields.items():
        alias = field.alias or name
        section = field.annotation
        if isinstance(section, type) and issubclass(section, ConfigSection):
            keys |= {f"{alias}.{inner.alias or key}" for key, inner in section.model_fields.items()}
            if issubclass(section, OpenSection):
                open_prefixes.append(f"{alias}.")
        else:
            keys.add(alias)
    return keys, tuple(open_prefixes)


def is_key(key: str) -> bool:
    """Return whether there is such a key, or may be: a parameter of what an open section names."""
    known, open_prefixes = _known_keys()
    return key in known or (key.startswith(open_prefixes) and key.count(".") == 1)


def missing_key(values: Container[str]) -> str:
    """Return the first fixed key that a configuration lacks; a configuration written by a run has all."""
    return next((key for key in sorted(_known_keys()[0]) if key not in values), "")


def _check_keys(values: Mapping[str, Value]) -> None:
    known, _ = _known_keys()
    for key in values:
        if key in RENAMED:
            raise UserError(f"{key} is now {RENAMED[key]}")
        if not is_key(key):
            if (table := key.partition(".")[0]) in _TABLES:
                raise UserError(f"{key} is not a key of a run: [{table}] is for an experiment file")
            hint = _nearest_key(key, known) or "; run_simulation.py --describe names what there is to set"
            raise UserError(f"unknown key '{key}'{hint}")
        _check_value(key, values[key])
    if missing := sorted(known - set(values)):
        raise UserError(
            f"the configuration has no key '{missing[0]}'; start from the defaults of pyproject.toml"
        )


def _nearest_key(key: str, known: Iterable[str]) -> str:
    """Return a hint at the nearest key, by its present name."""
    hint = nearest(key, {*known, *default_values(), *RENAMED})
    old = hint.partition("'")[2].partition("'")[0]
    return hint.replace(f"'{old}'", f"'{RENAMED.get(old, old)}'")


def _check_value(key: str, value: object) -> None:
    if not isinstance(value, Value):
        raise UserError(f"{key} must be true or false, a number or a string, not {shown(value)}")
    if type(value) is int and not -(2**63) <= value < 2**63:
        raise UserError(f"{key} is too large a number: {TOO_LARGE}")
    if type(value) is float and math.isfinite(value) and value and not _MIN <= abs(value) <= _MAX:
        raise UserError(
            f"{key} must be 0 or of a size from {_MIN:g} to {_MAX:g}, which float32 holds, not {shown(value)}"
        )
    if isinstance(value, str) and not is_text(value):
        raise UserError(f"{key} is not UTF-8 text, or holds a zero byte: {shown(value)}")


def _describe(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "value_error":
        return complaint(first)
    if key == "local.epochs" and isinstance(first["input"], float) and not first["input"].is_integer():
        what = "a whole number (for a part of an epoch set local.steps instead)"
        return f"{key} must be {what}, not {shown(first['input'])}"
    return wrong_value(key, first)
