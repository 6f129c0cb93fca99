"""The kinds of things that are chosen by name: methods, models, data sets and the rest."""

from dataclasses import dataclass

GROUPS = "flowerbed."  # of entry points


@dataclass(frozen=True)
class Kind:
    """One kind of thing that is chosen by name.

    Attributes
    ----------
    title : str
        Its name in messages.
    key : str
        The configuration key that names one, or the text that messages show instead of a key.
    package : str
        The project's own package of them; modules with a leading underscore are helpers.
    folder : str
        Their folder in a plug-in folder.
    function : str
        Name of the function that a module must define; empty if it defines a subclass of a base class.
    takes : str
        The arguments of the call, separated by commas; those after a ``?`` are passed only to functions with
        one more parameter.
    is_chosen : bool
        Whether a key names those that are used; otherwise all are used.
    """

    title: str
    key: str
    package: str
    folder: str
    function: str = ""
    takes: str = ""
    is_chosen: bool = True

    @property
    def signature(self) -> str:
        """The function as it is called, without parameters of its own: ``loss(logits, targets)``."""
        arguments = self.takes.partition("?")[0].strip(", ")
        return f"{self.function}({arguments or '...'})"

    @property
    def group(self) -> str:
        """The group of entry points under which installed packages provide them."""
        return f"{GROUPS}{self.folder}"


CLIENT_HALF = Kind("client half of a method", "method.name", "clients", "clients")
SERVER_HALF = Kind("server half of a method", "method.name", "strategies", "strategies")
PARTICIPATION = Kind("participation scheme", "participation.name", "server.participation", "participation")
PARTITION = Kind(
    "partition",
    "partition.name",
    "datasets.partitions",
    "partitions",
    "partition",
    "targets, num_clients, generator, ?",
)
DATASET = Kind("data set", "dataset.name", "datasets.sets", "datasets", "load")
METRIC = Kind("metric", "metrics", "models.metrics", "metrics", "metric", "outputs, targets")
MODEL = Kind("model", "model.name", "models.architectures", "models", "build", "input_shape, num_classes")
LOSS = Kind("loss", "loss.name", "clients.local.losses", "losses", "loss", "logits, targets, ? label_counts")
OPTIMIZER = Kind(
    "optimizer",
    "optimizer.name",
    "clients.local.optimizers",
    "optimizers",
    "build",
    "parameters, learning_rate",
)
SCHEDULE = Kind("schedule", "schedule.name", "common.schedules", "schedules")
AUGMENTATION = Kind(
    "augmentation",
    "augmentation.name",
    "datasets.augmentations",
    "augmentations",
    "augment",
    "inputs, generator",
)
ATTACK = Kind("attack", "attack.name", "clients.local.attacks", "attacks")
COMPRESSION = Kind("compression", "compression.name", "common.compressions", "compressions")
STEP_RULE = Kind("rule for local steps", "steps.rule", "common.step_rules", "step_rules")
CLOCK = Kind("clock profile", "clock.profile", "common.clocks", "clocks", "seconds", "num_clients, generator")
TOPOLOGY = Kind(
    "topology", "topology.name", "common.topologies", "topologies", "links", "num_clients, generator"
)
OBSERVER = Kind("observer", "observers", "server.observers", "observers")
TRACKER = Kind("tracker", "tracking", OBSERVER.package, OBSERVER.folder)  # an observer
PLOT = Kind("plot", "plots", "analysis.plots", "plots", "plot", "run_dir", is_chosen=False)

KINDS = (
    CLIENT_HALF, SERVER_HALF, PARTICIPATION, PARTITION, DATASET, METRIC, MODEL, LOSS, OPTIMIZER, SCHEDULE,
    AUGMENTATION, ATTACK, COMPRESSION, STEP_RULE, CLOCK, TOPOLOGY, OBSERVER, PLOT,
)  # fmt: skip
