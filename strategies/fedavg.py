"""FedAvg's server half, and the hooks that other methods override.

arXiv:1602.05629.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from common.config import Config
from common.errors import UserError
from common.flower import entries, new_content, new_messages
from common.parameters import Needs
from common.records import (
    ARRAYS,
    CONFIG,
    PARTICIPATION_WEIGHT,
    Payload,
    Tensors,
    metrics_record,
    to_payload,
    to_record,
    to_tensors,
)
from common.returned import check_number, check_returned, check_returned_tensors
from common.sections import Value
from strategies._aggregation import MetricAverage, WeightedAverage
from strategies._attributes import data_of
from strategies._privacy import ClientPrivacy, PrivateMean
from strategies._run_facts import RunFacts


class FedAvg(Strategy):
    """Weighted averaging of the clients' models (McMahan et al. 2017, Algorithm 1).

    x <- sum_i p_i y_i with p_i = n_i / sum_j n_j over the clients of the round, or p_i = 1 / |S| with
    ``weighting = "uniform"``. A method subclasses this in ``strategies/<method>.py``; its parameters are
    annotated class attributes with a default. All attributes of a strategy are checkpointed.

    It addresses every node that the given Grid shows; the cohort has been chosen already.
    """

    TRANSIENT: ClassVar[tuple[str, ...]] = (
        "weighs_replies",
        "global_model",
        "num_replies",
        "num_clients",
        "parameter_names",
        "seed",
        "_label_counts",
        "client_examples",
        "privacy",
        "round_metrics",
    )
    PAST_MODELS: ClassVar[tuple[str, ...]] = ()
    """Attributes that hold global models of earlier rounds, which were checked for divergence then."""
    SECTIONS = frozenset({ARRAYS})  # of a reply; privacy.* covers the model only
    REDUCTION: ClassVar[Literal["mean", "step", "own"]] = "mean"
    """What the new model is: a mean of the clients' models; another function of them and the model before;
    or one of more than these, such as of data on the server."""
    EXAMPLE: ClassVar[dict[str, Value]] = {}
    """Keys of a small example run of the method, as ``Client.EXAMPLE``."""
    NEEDS: ClassVar[Mapping[str, Needs]] = {}
    """Parameter → what it needs to have an effect; without that, setting it is an error."""
    UNUSED: ClassVar[Mapping[str, str]] = {}
    """Key that has no effect with the method → why; setting it is an error."""
    TAKES_SIZES: ClassVar[bool] = False
    """Whether the method is for clients with models of several sizes."""
    TRAINS_EXITS: ClassVar[bool] = False
    """Whether its clients train early exits."""
    REMARK_ON_PRIVACY: ClassVar[str] = ""
    """What users should know about the method with ``privacy.*``."""

    weighs_replies: bool
    """Whether replies are weighted by ``weight``."""

    weighting: Literal["examples", "uniform"] = "examples"
    privacy_clip_norm = 0.0  # no parameter: ``privacy`` sets and adapts it

    def __init__(self, **parameters: object) -> None:
        for name, value in parameters.items():
            setattr(self, name, value)
        self.weighs_replies = True
        self.global_model: Tensors = {}
        self.num_replies = 0
        self.num_clients = 0
        self.parameter_names: Collection[str] = ()
        self.seed = 0
        self._label_counts: torch.Tensor | None = torch.zeros(0, 0, dtype=torch.int64)
        self.client_examples = torch.zeros(0, dtype=torch.int64)  # (clients,): n_i
        self.privacy: ClientPrivacy | None = None
        self.round_metrics: dict[str, float] = {}

    def state(self) -> dict[str, Any]:
        """Return the state for checkpoints: all attributes except functions and those in ``TRANSIENT``."""
        return data_of({name: value for name, value in vars(self).items() if name not in self.TRANSIENT})

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state`` returned."""
        vars(self).update(state)

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

    # Hooks, in the order in which a run calls them.

    def check(self, config: Config) -> None:
        """Raise a `UserError` if the method cannot work with this configuration; before any training."""
        name = config.method.name
        if config.model.sizes and not self.TAKES_SIZES:
            raise UserError(
                f"method.name '{name}' is for clients that all train the whole model: leave model.sizes"
                " empty, or choose a method for several sizes such as 'heteroavg'"
            )
        is_measured = self.measures_changes() or config.privacy.clipping != "off"
        if config.model.individual_init and is_measured:
            who = f"'{name}'" if self.measures_changes() else "privacy.*"
            raise UserError(
                f"model.individual-init lets clients begin at models of their own, whose distance from the"
                f" global one {who} would take for a step: set it to false, or choose a method that averages"
                " models, such as 'fedavg'"
            )
        if config.privacy.clipping != "off" and (reason := self.not_private()):
            raise UserError(
                f"privacy.* does not cover '{name}', {reason}: set privacy.clipping = 'off' or choose"
                " another method, such as 'fedavg'"
            )

        if not config.clients.report_labels and (reason := self.shows_labels()):
            raise UserError(_labels_needed(f"method.name '{name}', {reason}"))

    def measures_changes(self) -> bool:
        """Return whether the method uses the clients' changes, not only the mean of their models."""
        return False

    def shows_labels(self) -> str:
        """Return how the method reveals the clients' labels to the server; empty if it does not."""
        return ""

    def not_private(self) -> str:
        """Return why the noise of ``privacy.*`` would not cover what the clients send; empty if it does."""
        extra = sorted(self.SECTIONS - {ARRAYS})
        return f"whose clients send '{extra[0]}' in addition to the model" if extra else ""

    def leaks(self, config: Config, has_validation: bool) -> str:
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

    def prepare(self, sections: Payload) -> Payload:
        """Return the sections to average for one reply: its own, or others computed from them.

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

        Called before a reply, also one of a prelude, is prepared and averaged, and by ``weight_of``: it must
        not count replies.
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
        average.add(section, self.weight(metrics))

    def build_messages(self, content: RecordDict, message_type: str, grid: Grid) -> list[Message]:
        """Return one message with this content for each node of the Grid."""
        return new_messages(content, message_type, grid.get_node_ids())

    # Helpers for hooks.

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

    def aggregate_prelude(self, server_round: int, replies: Iterable[Message]) -> None:
        """Average the clients' preludes, one by one."""
        sections: dict[str, WeightedAverage] = {}
        total = 0.0
        for reply in replies:
            self.before_reply(reply)
            weight = self.prelude_weight(metrics_record(reply.content))
            check_number(weight, f"what {type(self).__name__}.prelude_weight returns")
            total += weight
            for name, section in to_payload(reply.content).items():
                sections.setdefault(name, WeightedAverage()).add(section, weight)
        if sections:  # if all preludes have failed, the run reports it
            self.on_prelude({name: average.result() for name, average in sections.items()}, total)

    # Flower's interface.

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Build one message per client of the round; all have the same records."""
        self.global_model = to_tensors(arrays)
        others = self.broadcast(server_round)
        check_returned(others, f"what {type(self).__name__}.broadcast returns")
        sections = {name: to_record(section) for name, section in others.items()}
        return self.build_messages(
            new_content({ARRAYS: arrays, **sections, CONFIG: config}), MessageType.TRAIN, grid
        )

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Aggregate the replies one by one, in the given order."""
        sections: dict[str, WeightedAverage] = {}
        metrics = MetricAverage()
        for reply in replies:
            record = metrics_record(reply.content)
            self.before_reply(reply)
            received = to_payload(reply.content)
            prepared = self.prepare(received)
            if prepared is not received:
                self._check_prepared(prepared)
            for name, section in prepared.items():
                if name not in sections:
                    sections[name] = self._reduction(name, server_round)
                self.accumulate(name, sections[name], section, record)
            metrics.add(record)
            self.num_replies = metrics.count
        if not sections:
            return None, None
        averages = {name: average.mean() for name, average in sections.items()}
        if isinstance(model := sections[ARRAYS], PrivateMean):
            self.round_metrics = model.metrics()
            self.privacy_clip_norm = model.next_clip_norm()
        updated = self.update(averages, server_round)
        check_returned_tensors(updated, f"what {type(self).__name__}.update returns")
        return to_record(sections[ARRAYS].cast(updated)), metrics.result()

    def _check_prepared(self, prepared: object) -> None:
        what = f"what {type(self).__name__}.prepare returns"
        check_returned(prepared, what)
        assert isinstance(prepared, Mapping)
        if ARRAYS not in prepared:
            raise UserError(f"{what} lacks the section '{ARRAYS}', the client's model: return that as well")

    def _reduction(self, section: str, server_round: int) -> WeightedAverage:
        if self.privacy is None:
            return WeightedAverage()
        self.privacy.check_section(section)
        return PrivateMean(
            self.privacy, self.global_model, self.parameter_names, self.privacy_clip_norm, server_round
        )

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Build one message per evaluating client."""
        return self.build_messages(RecordDict({ARRAYS: arrays, CONFIG: config}), MessageType.EVALUATE, grid)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Average the clients' metrics, weighted by examples."""
        metrics = MetricAverage()
        for reply in replies:
            metrics.add(metrics_record(reply.content))
        return metrics.result()

    def columns(self, server_round: int) -> dict[str, float]:
        """Return the strategy's columns for the metrics of a round; round 0 is the initial model."""
        spent = {} if self.privacy is None else self.privacy.spent(server_round)
        return {**self.round_metrics, **spent}

    @property
    def reports_layers(self) -> bool:
        """Whether ``layers`` has anything to report."""
        return False

    def layers(self, server_round: int) -> dict[str, dict[str, float]]:
        """Return what the strategy reports about single layers in a round, for ``layers.csv``."""
        return {}

    def summary(self) -> None:
        """Print nothing: ``config.toml`` in the run directory has the configuration."""


def _labels_needed(who: str) -> str:
    return (
        f"clients.report-labels = false keeps label counts with the clients, which rules out {who}: set"
        " it to true, or choose another method"
    )
