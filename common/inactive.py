"""Keys of features that are switched off, which would be ignored silently.

Each row of ``SWITCHES`` has the condition under which keys have an effect, and the key that decides it. A key
that a user sets without effect is an error that names both, also if its value is the default; in a stored or
derived configuration ``server.named_parameters.without_idle_keys`` resets it.
"""

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass

from common.config import missing_key
from common.config_values import RUN_OPTIONS, expanded
from common.defaults import default_values
from common.errors import NoEffectError
from common.parameters import function_parameters
from common.plugin_kinds import MODEL, PARTICIPATION, PARTITION
from common.plugins import find, find_function, project_names
from common.sections import Value

Values = Mapping[str, Value]
Condition = Callable[[Values], object]


@dataclass(frozen=True)
class Switch:
    """The condition under which keys have an effect.

    Attributes
    ----------
    keys : tuple of str
        The keys; a name that ends in a dot stands for all keys of that section.
    needs : str
        The setting that would give them an effect, for the message.
    is_on : Condition
        Whether they have an effect in a valid flat configuration.
    """

    keys: tuple[str, ...]
    needs: str
    is_on: Condition


def _set(key: str) -> Condition:
    """Return the condition that a key is not 0, false or empty."""
    return lambda values: values[key]


def _is(key: str, *choices: Value) -> Condition:
    return lambda values: values[key] in choices


def _is_not(key: str, choice: Value) -> Condition:
    return lambda values: values[key] != choice


def _has_clock(values: Values) -> bool:
    """Return whether clients differ in speed, or may."""
    names = ("spread", "jitter", "seconds-per-step", "latency", "bandwidth")
    return values["clock.profile"] != "log-normal" or any(values.get(f"clock.{name}") for name in names)


def _is_ours(model: str) -> bool:
    """Return whether a model is of the project, or one of a library as the project builds it."""
    return model in project_names(MODEL) or model.partition(":")[0] in ("torchvision", "timm")


def _partition_has_a_seed(values: Values) -> bool:
    """Return whether the partition depends on a seed other than ``partition.legacy-seed``."""
    name = str(values["partition.name"])
    if name in ("natural", "node"):
        return False
    if find(PARTITION, name) is None:
        return True  # of a name that is wrong the run says so
    _, default = function_parameters(find_function(PARTITION, name)).get("legacy_seed", (int, -1))
    return bool(values.get("partition.legacy-seed", default) == -1)


def _uses_fraction(scheme: str) -> bool:
    """Return whether a participation scheme, which may be a plug-in, uses ``clients.fraction``."""
    if (found := find(PARTICIPATION, scheme)) is None:
        return True  # of a name that is wrong the run says so
    things = [found.thing]
    if found.is_module:  # what it imports says nothing of its own scheme
        name = found.thing.__name__
        things = [thing for thing in vars(found.thing).values() if getattr(thing, "__module__", "") == name]
    return all(getattr(thing, "uses_fraction", True) for thing in things)


SWITCHES = (
    Switch(
        ("privacy.clip-norm",), "privacy.clipping = 'fixed' or 'adaptive'", _is_not("privacy.clipping", "off")
    ),
    Switch(
        ("privacy.target-quantile", "privacy.clip-learning-rate", "privacy.count-noise"),
        "privacy.clipping = 'adaptive'",
        _is("privacy.clipping", "adaptive"),
    ),
    Switch(
        ("method.weighting",),
        "privacy.clipping = 'off', since with privacy.* all replies have equal weights",
        _is("privacy.clipping", "off"),
    ),
    Switch(
        ("privacy.delta", "privacy.relation", "privacy.count-noise"),
        "privacy.noise-multiplier above 0",
        _set("privacy.noise-multiplier"),
    ),
    Switch(
        ("clients.fraction",),
        "another participation.name, since this scheme says itself how many clients take part",
        lambda values: _uses_fraction(str(values["participation.name"])),
    ),
    Switch(
        ("evaluate.every",),
        "evaluate.count = 0, evaluate.every-steps = 0 and no evaluate.every-by-phase, which take precedence",
        lambda values: (
            not values["evaluate.count"]
            and not values["evaluate.every-steps"]
            and not values["evaluate.every-by-phase"]
        ),
    ),
    Switch(
        ("evaluate.mask",),
        "evaluate.groups, or dataset.imbalance-factor below 1",
        lambda values: (
            values["evaluate.groups"] in ("cumulative", "counts")
            or (values["evaluate.groups"] == "auto" and values["dataset.imbalance-factor"] != 1)
        ),
    ),
    Switch(("attack.fraction",), "an attack.name other than 'none'", _is_not("attack.name", "none")),
    Switch(
        ("compression.error-feedback",),
        "a compression.name other than 'none'",
        _is_not("compression.name", "none"),
    ),
    Switch(
        ("stragglers.policy", "stragglers.smallest-share"),
        "stragglers.fraction above 0",
        _set("stragglers.fraction"),
    ),
    Switch(
        ("steps.min", "steps.max", "steps.interval"),
        "a steps.rule other than 'fixed'",
        _is_not("steps.rule", "fixed"),
    ),
    Switch(("schedule.phase-gamma",), "local.phases", _set("local.phases")),
    Switch(
        ("schedule.warmup-learning-rate",),
        "schedule.warmup-steps above 0",
        _set("schedule.warmup-steps"),
    ),
    Switch(
        ("optimizer.reference-batch-size",),
        "optimizer.learning-rate-scaling = 'sqrt' or 'linear'",
        _is_not("optimizer.learning-rate-scaling", "none"),
    ),
    Switch(
        ("optimizer.weight-decay-exclude",),  # of lars and lamb it also says whose rate is not scaled
        "optimizer.weight-decay above 0",
        lambda values: (
            values["optimizer.name"] not in ("sgd", "adamw") or values.get("optimizer.weight-decay")
        ),
    ),
    Switch(
        ("optimizer.clip-decay",),
        "optimizer.clip-norm and optimizer.weight-decay above 0",
        lambda values: (
            values["optimizer.name"] not in ("sgd", "lars")
            or (values["optimizer.clip-norm"] and values.get("optimizer.weight-decay"))
        ),
    ),
    Switch(
        ("participation.penalty", "participation.pacer-step", "participation.pacer-window"),
        "clients of different speeds, such as clock.spread above 0",
        lambda values: values["participation.name"] != "oort" or _has_clock(values),
    ),
    Switch(
        ("partition.alpha", "partition.legacy-seed"),
        "partition.file = '', since the file says who holds what",
        lambda values: values["partition.name"] != "hetero-fixed" or not values.get("partition.file"),
    ),
    Switch(
        ("partition.all-samples",),
        "partition.file",
        lambda values: values["partition.name"] != "hetero-fixed" or values.get("partition.file"),
    ),
    Switch(
        ("local.steps-per-epoch", "local.world-size"),
        "local.sampling = 'shuffle'",
        _is("local.sampling", "shuffle"),
    ),
    Switch(("dataset.validation-seed",), "dataset.validation-fraction", _set("dataset.validation-fraction")),
    Switch(
        ("partition.seed",),
        "a partition.name that draws from it, without a partition.legacy-seed from 0 on",
        _partition_has_a_seed,
    ),
    Switch(
        ("dataset.imbalance-profile", "dataset.imbalance-seed"),
        "dataset.imbalance-factor below 1",
        _is_not("dataset.imbalance-factor", 1),
    ),
    Switch(
        ("dataset.feature-noise-overflow", "dataset.feature-noise-clients"),
        "dataset.feature-noise above 0",
        _set("dataset.feature-noise"),
    ),
    Switch(("model.size-assignment", "model.size-file"), "model.sizes", _set("model.sizes")),
    Switch(
        ("model.groups",),
        "model.norm = 'group'",
        lambda values: not _is_ours(str(values["model.name"])) or values.get("model.norm") == "group",
    ),
    Switch(
        ("batch-norm.batches", "batch-norm.batch-size", "batch-norm.augmented"),
        "batch-norm.policy = 'recalibrate'",
        _is("batch-norm.policy", "recalibrate"),
    ),
    Switch(
        ("batch-norm.augmented",),
        "an augmentation.name other than 'none', or augmentation.cutout above 0",
        lambda values: values["augmentation.name"] != "none" or values["augmentation.cutout"],
    ),
    Switch(
        ("stop.metric",),
        "stop.patience or stop.target above 0",
        lambda values: values["stop.patience"] or values["stop.target"],
    ),
    Switch(("analysis.images",), "analysis.similarity-rounds", _set("analysis.similarity-rounds")),
    Switch(("analysis.update-layers",), "analysis.update-rounds", _set("analysis.update-rounds")),
    Switch(
        ("analysis.sharpness-probes",), "analysis.sharpness-images above 0", _set("analysis.sharpness-images")
    ),
    Switch(
        ("state.memory-budget",),
        "another runtime.name than 'ray', since Ray puts what exceeds its memory into files by itself",
        lambda values: values["runtime.name"] != "ray",
    ),
    Switch(
        ("failures.max-fraction", "failures.deadline"),
        "failures.policy = 'drop'",
        _is("failures.policy", "drop"),
    ),
    Switch(
        ("runtime.workers", "resources.cpus-per-client"),
        "runtime.name = 'ray' or 'threads'",
        lambda values: values["runtime.name"] != "sequential",
    ),
    Switch(
        ("ray.", "resources.gpus-per-client"),
        "runtime.name = 'ray'",
        _is("runtime.name", "ray"),
    ),
)


def given_keys(*layers: Values) -> frozenset[str]:
    """Return the keys that users have set; a ``config.toml`` of a run has all keys, which says nothing."""
    own = (expanded(layer) for layer in layers if missing_key({**layer, **RUN_OPTIONS}))
    return frozenset(key for layer in own for key in layer)


def inactive_keys(values: Values, given: Container[str] = ()) -> dict[str, str]:
    """Return the keys that are set without effect, each with the setting that would give it one.

    Parameters
    ----------
    values : Mapping[str, Value]
        A valid flat configuration.
    given : container of str
        The keys that count as set; of the others, those that differ from their defaults.
    """
    defaults = default_values()
    return {
        key: switch.needs
        for switch in SWITCHES
        if not switch.is_on(values)
        for key, value in values.items()
        if key in switch.keys or f"{key.partition('.')[0]}." in switch.keys
        if key in given or value != defaults.get(key)
    }


def check_active(values: Values, given: Container[str] = ()) -> None:
    """Refuse keys that are set although their feature is off; parameters as of ``inactive_keys``.

    Raises
    ------
    NoEffectError
        One line that names the key and its switch.
    """
    for key, needs in inactive_keys(values, given).items():
        raise NoEffectError(
            key, f"{key} = {values[key]!r} would have no effect: it needs {needs}; set that, or leave it out"
        )
