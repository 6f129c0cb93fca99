"""The hooks of a server half that a method may override; the defaults are FedAvg's."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Literal

import torch
from flwr.app import Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from common.config import Config
from common.errors import UserError
from common.flower import entries, new_messages
from common.package_modules import is_in
from common.parameters import Needs
from common.records import ARRAYS, PARTICIPATION_WEIGHT, Payload, Tensors, metrics_record
from common.returned import Names, check_flag, check_number, check_text
from common.sections import Value
from strategies._aggregation import WeightedAverage
from strategies._run_facts import RunFacts


class ServerHooks(Strategy):
    """The hooks, in the order in which a run calls them.

    Attributes
    ----------
    global_model : Tensors
        The model at the beginning of the round.
    num_clients, parameter_names, seed, client_examples, client_ids
        Facts of the run: see ``strategies._run_facts.RunFacts``.
    """

    PAST_MODELS: ClassVar[Names] = ()
    """Attributes that hold global models of earlier rounds, which were checked for divergence then."""
    SECTIONS: ClassVar[Names] = frozenset({ARRAYS})
    """The sections of a reply; privacy.* covers the model only."""
    REDUCTION: ClassVar[Literal["mean", "step", "own"]] = "mean"
    """What the new model is: a mean of the clients' models; another function of them and the model before;
    or one of more than these, such as of data on the server."""
    EXAMPLE: ClassVar[dict[str, Value]] = {}
    """Keys of a small example run of the method, as ``Client.EXAMPLE``."""
    NEEDS: ClassVar[Mapping[str, Needs]] = {}
    """Parameter → what it needs to have an effect; without that, setting it is an error."""
    UNUSED: ClassVar[Mapping[str, str]] = {}
    """Key that has no effect with the method → why; setting it is an error."""
    COLUMNS: ClassVar[Names] = ()
    """The columns that the method adds to ``metrics.csv``; ``*`` stands for any text."""
    TAKES_SIZES: ClassVar[bool] = False
    """Whether the method is for clients with models of several sizes."""
    TRAINS_EXITS: ClassVar[bool] = False
    """Whether its clients train early exits."""
    REMARK_ON_PRIVACY: ClassVar[str] = ""
    """What users should know about the method with ``privacy.*``."""

    RENAMED = MappingProxyType(
        {
            "prepare": "transform_reply",
            "not_private": "why_not_private",
            "shows_labels": "how_labels_leak",
            "leaks": "how_data_leak",
        }
    )
    """Former name → the one that has replaced it."""

    weighting: Literal["examples", "uniform"] = "examples"

    def __init__(self, **parameters: object) -> None:
        for name, value in parameters.items():
            setattr(self, name, value)
        self.global_model: Tensors = {}
        self.num_clients = 0
        self.parameter_names: Collection[str] = ()
        self.seed = 0
        self._label_counts: torch.Tensor | None = torch.zeros(0, 0, dtype=torch.int64)
        self.client_examples = torch.zeros(0, dtype=torch.int64)  # (clients,): n_i
        self.client_ids: Mapping[int, int] = {}

    def check(self, config: Config) -> None:
        """Raise a `UserError` if the method cannot work with this configuration; before any training."""
        name = config.method.name
        if config.model.sizes and not self.TAKES_SIZES:
            raise UserError(
                f"method.name '{name}' is for clients that all train the whole model: leave model.sizes"
                " empty, or choose a method for several sizes such as 'heteroavg'"
            )
        who = type(self).__name__
        measures = check_flag(self.measures_changes(), f"what {who}.measures_changes returns")
        not_covered = check_text(self.why_not_private(), f"what {who}.why_not_private returns")
        leak = check_text(self.how_labels_leak(), f"what {who}.how_labels_leak returns")
        is_measured = measures or config.privacy.clipping != "off"
        if config.model.individual_init and is_measured:
            who = f"'{name}'" if measures else "privacy.*"
            raise UserError(
                f"model.individual-init lets clients begin at models of their own, whose distance from the"
                f" global one {who} would take for a step: set it to false, or choose a method that averages"
                " models, such as 'fedavg'"
            )
        if config.privacy.clipping != "off" and not_covered:
            raise UserError(
                f"privacy.* does not cover '{name}', {not_covered}: set privacy.clipping = 'off' or choose"
                " another method, such as 'fedavg'"
            )
        if not config.clients.report_labels and leak:
            raise UserError(_labels_needed(f"method.name '{name}', {leak}"))

    def measures_changes(self) -> bool:
        """Return whether the method uses the clients' changes, not only the mean of their models."""
        return False

    def how_labels_leak(self) -> str:
        """Return how the method reveals the clients' labels to the server; empty if it does not."""
        return ""

    def why_not_private(self) -> str:
        """Return why the noise of ``privacy.*`` would not cover what the clients send; empty if it does."""
        extra = sorted({*self.SECTIONS} - {ARRAYS})
        return f"whose clients send '{extra[0]}' in addition to the model" if extra else ""

    def how_data_leak(self, config: Config, has_validation: bool) -> str:
        """Return how, other than by its change, a client's data would reach other clients or the model.

        The noise of ``privacy.*`` then has no epsilon; empty if there is no such way. `has_validation` says
        whether there are validation data, held out or of the data set's own.
        """
        return ""

    def divergence_advice(self, config: Config) -> Iterable[str]:
        """Return sentences on what in this method may make runs diverge, and what helps."""
        return ()

    def setup(self, run: RunFacts) -> None:
        """Take the facts of the run, before its first round and again after a resume."""
        self.num_clients, self.parameter_names = run.num_clients, run.parameter_names
        self.seed, self._label_counts, self.client_examples = run.seed, run.label_counts, run.num_examples
        self.client_ids = run.client_ids

    def initial_model(self, model: Tensors, seed: int) -> Tensors:
        """Return the model from which the run starts, given the configured one with its initial weights."""
        return model

    def variants(self, model: Tensors) -> dict[str, Tensors]:
        """Return further global models for central evaluation: name → entries that differ from `model`."""
        return {}

    def cohort(self, server_round: int) -> list[int] | None:
        """Return the round's clients if the method chooses them; None: the participation scheme does."""
        return None

    def num_working(self) -> int:
        """Return the number of clients that work concurrently; 0 if these are the round's clients.

        ``failures.max-fraction`` is a fraction of this number.
        """
        return 0

    def prelude_clients(self, server_round: int, cohort: Sequence[int]) -> Sequence[int]:
        """Return the clients that run ``Client.prelude`` before a round; by default none."""
        return ()

    def on_prelude(self, means: Payload, weight: float) -> None:
        """Take the means over clients of the sections of their preludes, in the model's precision.

        `weight` is the sum of the clients' weights.
        """

    def broadcast(self, server_round: int) -> Payload:
        """Return the sections that go to every client in addition to the model."""
        return {}

    def weight(self, metrics: MetricRecord) -> float:
        """Return the weight of a reply; a participation scheme that corrects its bias adjusts it."""
        weight = self.client_weight(metrics)
        check_number(weight, f"what {type(self).__name__}.client_weight returns")
        return float(entries(metrics).get(PARTICIPATION_WEIGHT, 1.0)) * weight

    def weight_of(self, reply: Message) -> float:
        """Return the weight of a reply before it is aggregated, for code that observes passing replies."""
        self.before_reply(reply)
        return self.weight(metrics_record(reply.content))

    def client_weight(self, metrics: MetricRecord) -> float:
        """Return the client's weight in the objective, 1 or n_i, not corrected for participation."""
        return 1.0 if self.weighting == "uniform" else float(metrics["num-examples"])  # type: ignore[arg-type]

    def prelude_weight(self, metrics: MetricRecord) -> float:
        """Return the weight of a client's prelude."""
        return self.weight(metrics)

    def transform_reply(self, sections: Payload) -> Payload:
        """Return the sections of one reply that are averaged: its own, or others computed from them.

        One of them is ``"arrays"``, the client's model.
        """
        return sections

    def update(self, averages: Payload, server_round: int) -> Tensors:
        """Return the next global model, given the averaged sections of the replies in float64.

        Entries that are left out stay as they are.
        """
        return averages[ARRAYS]

    def before_reply(self, reply: Message) -> None:
        """Look up what the weight and the aggregation of a reply need, such as its client.

        Called before a reply, also one of a prelude, is transformed and averaged, and by ``weight_of``: it
        must not count replies.
        """

    def trained_from(self, reply: Message, sent: Tensors) -> Tensors:
        """Return the model from which a client's training started; by default the one that it was sent."""
        return sent

    def bytes_on_the_clock(self, client: int, server_round: int, num_bytes: int) -> float:
        """Return the bytes that a client's job transfers on the virtual clock.

        `num_bytes` is the size of its actual messages, both ways.
        """
        return num_bytes

    def accumulate(
        self, name: str, average: WeightedAverage, section: Tensors, metrics: MetricRecord
    ) -> None:
        """Add the section `name` of the current reply to its average."""
        weight = self.weight(metrics)
        if self.is_from_outside:
            check_number(weight, f"what {type(self).__name__}.weight returns")
        average.add(section, weight)

    def build_messages(self, content: RecordDict, message_type: str, grid: Grid) -> list[Message]:
        """Return one message with this content for each node of the Grid."""
        return new_messages(content, message_type, grid.get_node_ids())

    @property
    def is_from_outside(self) -> bool:
        """Whether the method's class is not one of the project's."""
        return not is_in(type(self), "strategies")

    def has_own(self, hook: str) -> bool:
        """Return whether code from outside the project defines a hook."""
        return not is_in(getattr(type(self), hook), "strategies")

    # Helpers for hooks.

    def client_of(self, reply: Message) -> int:
        """Return the id of the client that sent a reply."""
        return self.client_ids[reply.metadata.src_node_id]

    @property
    def label_counts(self) -> torch.Tensor:
        """The clients' label counts, int64, (clients, classes).

        Raises
        ------
        UserError
            If clients do not report them.
        """
        if self._label_counts is None:
            raise UserError(_labels_needed(f"{type(self).__name__}, which asks for them"))
        return self._label_counts

    @property
    def total_weight(self) -> float:
        """The sum of ``client_weight`` over all clients of the run: K, or N."""
        return float(self.num_clients if self.weighting == "uniform" else self.client_examples.sum())

    def as_trained(self, section: Tensors) -> Tensors:
        """Return a section's trainable entries in the model's precision; missing ones are zero."""
        model = {name: self.global_model[name] for name in self.parameter_names}
        return {name: section.get(name, torch.zeros_like(x)).to(x.dtype) for name, x in model.items()}

    def mean_change(self, averages: Payload) -> Tensors:
        """Return Delta = mean of y_i - x over the trainable entries, in float64."""
        return {name: averages[ARRAYS][name] - self.global_model[name] for name in self.parameter_names}

    def stepped(self, averages: Payload, step: Tensors) -> Tensors:
        """Return x + step for the trainable entries and the average for the rest (buffers)."""
        return averages[ARRAYS] | {
            name: self.global_model[name] + step[name] for name in self.parameter_names
        }


def _labels_needed(who: str) -> str:
    return (
        f"clients.report-labels = false keeps label counts with the clients, which rules out {who}: set"
        " it to true, or choose another method"
    )
