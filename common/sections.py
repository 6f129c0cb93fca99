"""The sections of the configuration: types and limits of keys, and what does not go together within one."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from common.errors import shown
from common.phases import Phases
from common.round_list import RoundList

Value = bool | int | float | str

KEPT_NAMES = frozenset({"decay", "best"})  # checkpoints that depend on the run
MOST_CLIENTS = 10_000_000  # arrays by client must fit into memory

Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[int, Field(ge=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0, le=1e9)]
# A list of rounds; a single one comes as a number.
Rounds = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value)]
PhaseList = Rounds  # one phase without a number of steps is a number, too
Metric = Literal["test_accuracy", "test_loss", "validation_accuracy", "validation_loss", "train_loss"]


class ConfigSection(BaseModel):
    """Fixed keys, spelled with dashes."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        alias_generator=lambda name: name.replace("_", "-"),
    )


class OpenSection(ConfigSection):
    """A section of which one key names a thing, and keys that are not fixed are that thing's parameters."""

    model_config = ConfigDict(extra="allow")

    @property
    def choice(self) -> str:
        """What is named."""
        raise NotImplementedError

    @property
    def parameters(self) -> dict[str, Value]:
        """The keys that are not fixed, in their configuration spelling."""
        return dict(self.model_extra or {})


class NamedSection(OpenSection):
    """An open section whose key ``name`` names the thing."""

    name: str

    @property
    def choice(self) -> str:
        """What is named."""
        return self.name


class RunSection(ConfigSection):
    """Where the run directory is and whether the run continues from its checkpoint."""

    directory: str
    resume: bool


class ClientsSection(ConfigSection):
    """How many clients there are (0: as many as nodes) and which fraction trains and evaluates in a round."""

    count: Annotated[int, Field(ge=0, le=MOST_CLIENTS)]
    fraction: Annotated[float, Field(gt=0, le=1)]
    evaluate_fraction: Annotated[float, Field(ge=0, le=1)]
    test_data: Literal["class-weighted", "training-distribution"]
    report_labels: bool


class StragglersSection(ConfigSection):
    """Clients that manage only part of a round's work, and whether their work counts."""

    fraction: Annotated[float, Field(ge=0, le=1)]
    policy: Literal["keep", "drop"]

    @model_validator(mode="after")
    def _somebody_is_in_time(self) -> Self:
        if self.policy == "drop" and self.fraction == 1:
            raise ValueError(
                "stragglers.fraction = 1 with stragglers.policy 'drop' leaves nobody to train: lower it"
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
        """What is named."""
        return self.profile

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.bandwidth_spread and not self.bandwidth:
            raise ValueError("clock.bandwidth-spread needs clock.bandwidth, its median, above 0")
        return self


class TopologySection(NamedSection):
    """Who exchanges models with whom in decentralised methods, and the weights (``common/topologies``)."""

    weights: Literal["metropolis", "lazy-metropolis"]


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
    single_sample_batches: Literal["train", "skip"]

    def step_plan(self) -> Phases:
        """Return the local steps of each round, if they are counted (``local.steps``)."""
        return Phases.parse(self.steps, self.phases, self.total_steps)

    def steps_per_pass(self, num_examples: int) -> int:
        """Return the number of mini-batches of one pass over a client's samples.

        With ``single-sample-batches = "skip"`` a last batch of one sample does not count, unless the client
        has no other sample.
        """
        full, rest = divmod(num_examples, self.batch_size)
        is_skipped = self.single_sample_batches == "skip" and rest == 1 and full > 0
        return full + (rest > 0) - is_skipped

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        given = {"phases": self.phases, "total-steps": self.total_steps}
        given["sampling"] = self.sampling in ("shuffle", "replacement")
        for key, value in given.items():
            if value and self.steps == 0:
                raise ValueError(
                    f"local.{key} needs local.steps, a budget in steps, in place of local.epochs"
                )
        if self.steps:
            self.step_plan()
        if (self.epochs > 0) == (self.steps > 0):
            raise ValueError("set exactly one of local.epochs and local.steps above 0")
        if self.single_sample_batches == "skip" and (self.batch_size == 1 or self.sampling != "client"):
            raise ValueError(
                "local.single-sample-batches = 'skip' needs local.batch-size above 1, and local.sampling ="
                " 'client'"
            )
        return self


class OptimizerSection(NamedSection):
    """The local optimiser: its rate, and what does not depend on which one it is (``clients/optimizers``)."""

    learning_rate: Annotated[float, Field(gt=0)]
    learning_rate_scaling: Literal["none", "linear", "sqrt"]
    reference_batch_size: Positive
    clip_norm: NonNegativeFloat

    def batch_factor(self, batch_size: int) -> float:
        """Return what the learning rate is multiplied by for a batch size.

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


class AugmentationSection(NamedSection):
    """How training images are augmented (``datasets/augmentations``), and what is done to the result."""

    cutout: NonNegative


class AttackSection(NamedSection):
    """Clients that do harm on purpose (``clients/local/attacks``), and how many they are."""

    fraction: Annotated[float, Field(ge=0, le=1)]


class DatasetSection(NamedSection):
    """Which data, where, and how they are split; further keys are the named data set's own."""

    root: str
    download: bool
    image_size: Annotated[int, Field(ge=0, le=8192)]
    validation_fraction: Annotated[float, Field(ge=0, lt=1)]
    natural_clients: NonNegative
    client_noise: Annotated[float, Field(ge=0, le=1000)]
    imbalance_factor: Annotated[float, Field(gt=0, le=1)]
    imbalance_profile: Literal["exponential", "step"]
    imbalance_seed: Annotated[int, Field(ge=-1, lt=2**32)]
    normalization: Literal["dataset", "imagenet", "half", "none"]
    binarize: bool
    feature_noise: Annotated[float, Field(ge=0, le=1)]
    feature_noise_overflow: Literal["wrap", "clip"]
    feature_noise_clients: NonNegative
    label_noise: Annotated[float, Field(ge=0, lt=1)]


class ModelSection(NamedSection):
    """The architecture, and the sizes in which clients have it (``models/sizes/submodels.py``)."""

    individual_init: bool
    sizes: str
    size_assignment: Literal["contiguous", "shuffled", "dynamic"]
    size_file: str

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.individual_init and self.sizes:
            raise ValueError(
                "model.individual-init is for clients that all train the whole model: leave model.sizes empty"
            )
        if self.individual_init and self.parameters.get("weights"):
            raise ValueError(
                "model.individual-init gives every client other initial weights, model.weights the same to"
                " all: leave one of them out"
            )
        return self


class BatchNormSection(ConfigSection):
    """What happens to BatchNorm's running statistics (``docs/architecture.md``)."""

    policy: Literal["average", "local", "recalibrate"]
    batches: Positive
    batch_size: NonNegative
    augmented: bool


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
    """Evaluation: every how many rounds, or local steps, in batches of which size; groups of classes."""

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
    """Early stop: after ``patience`` evaluations without a better ``metric``, or at ``target`` (0: never)."""

    metric: Metric
    patience: NonNegative
    target: NonNegativeFloat

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.metric.endswith("accuracy") and self.target > 1:
            raise ValueError(
                f"stop.target = {self.target:g} is never reached: '{self.metric}' is between 0 and 1"
            )
        return self


class RuntimeSection(ConfigSection):
    """Which Grid carries the messages of ``run_simulation.py``; ``workers`` 0 means as many as fit.

    ``stack`` is how many clients train at once in one process: 0 is measured at the start, -1 is 0 on a GPU
    and 1 on a CPU.
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
    """What one client takes of a worker or of a node; the part of a GPU may be measured."""

    cpus_per_client: Annotated[float, Field(gt=0)]
    gpus_per_client: Annotated[NonNegativeFloat | Literal["auto"], WrapValidator(_part_of_gpus)]
    threads_per_worker: Annotated[int, Field(gt=0, le=1024)]
    clients_per_node: Annotated[int, Field(gt=0, le=MOST_CLIENTS)]


class FailuresSection(ConfigSection):
    """What a failed client does to the run."""

    policy: Literal["raise", "drop"]
    max_fraction: Annotated[float, Field(ge=0, lt=1)]
    timeout: Annotated[float, Field(gt=0, le=1e8)]
    deadline: Annotated[float, Field(ge=0, le=1e8)]


class StateSection(ConfigSection):
    """How much of what clients keep from round to round stays in memory."""

    memory_budget: NonNegative


class CheckpointSection(ConfigSection):
    """When a checkpoint is committed (after the last round in any case), and which ones stay."""

    every: Positive
    minutes: NonNegativeFloat
    keep: Rounds
    keep_by_phase: Rounds

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        try:
            # A name stands where a round may.
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
        """The rest, which lists rounds."""
        parts = self.keep.split(",") if self.keep.strip() else []
        return ",".join(part for part in parts if part.strip() not in KEPT_NAMES)


class AnalysisSection(ConfigSection):
    """What is written down for ``analysis/`` in which rounds (``server/observers/``)."""

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
