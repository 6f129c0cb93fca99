"""FedAvg's server half.

arXiv:1602.05629.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, ClassVar

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid

from common.errors import UserError
from common.flower import new_content
from common.records import (
    ARRAYS,
    CONFIG,
    Tensors,
    metrics_record,
    to_payload,
    to_record,
    to_tensors,
)
from common.returned import (
    Names,
    call_for_effect,
    check_entries,
    check_number,
    check_returned,
    check_returned_tensors,
    check_sent,
)
from strategies._aggregation import MetricAverage, WeightedAverage
from strategies._attributes import data_of
from strategies._hooks import ServerHooks
from strategies._privacy import ClientPrivacy, PrivateMean


class FedAvg(ServerHooks):
    """Weighted averaging of the clients' models (McMahan et al. 2017, Algorithm 1).

    x <- sum_i p_i y_i with p_i = n_i / sum_j n_j over the clients of the round, or p_i = 1 / |S| with
    ``weighting = "uniform"``. A method subclasses this in ``strategies/<method>.py``; its parameters are
    annotated class attributes with a default. All attributes of a strategy are checkpointed.

    It addresses every node that the given Grid shows; the cohort has been chosen already.
    """

    TRANSIENT: ClassVar[Names] = (
        "weighs_replies",
        "global_model",
        "num_replies",
        "num_clients",
        "parameter_names",
        "seed",
        "_label_counts",
        "client_examples",
        "client_ids",
        "privacy",
        "round_metrics",
    )
    """Attributes that are not in checkpoints, in addition to those that its base classes name."""
    weighs_replies: bool
    """Whether replies are weighted by ``weight``."""

    privacy_clip_norm = 0.0  # no parameter: ``privacy`` sets and adapts it

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self.weighs_replies = True
        self.num_replies = 0
        self.privacy: ClientPrivacy | None = None
        self.round_metrics: dict[str, float] = {}

    def state(self) -> dict[str, Any]:
        """Return the state for checkpoints: all attributes except functions and those in ``transient``."""
        transient = self.transient
        return data_of({name: value for name, value in vars(self).items() if name not in transient})

    @property
    def transient(self) -> Collection[str]:
        """What ``TRANSIENT`` names, here and in the classes that this one derives from."""
        return {name for part in type(self).__mro__ for name in vars(part).get("TRANSIENT", ())}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state`` returned."""
        vars(self).update(state)

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
            call_for_effect(
                self.on_prelude, {name: average.result() for name, average in sections.items()}, total
            )

    # Flower's interface.

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Build one message per client of the round; all have the same records."""
        self.global_model = to_tensors(arrays)
        if self.is_from_outside:  # whose hooks may write into it
            self.global_model = {name: value.clone() for name, value in self.global_model.items()}
        others = self.broadcast(server_round)
        check_sent(others, f"what {type(self).__name__}.broadcast returns")
        if ARRAYS in others:
            raise UserError(
                f"what {type(self).__name__}.broadcast returns has a section '{ARRAYS}', which is the model"
                " itself: choose another name"
            )
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
            transformed = self.transform_reply(received)
            if transformed is not received:
                self._check_transformed(transformed)
            for name, section in transformed.items():
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
        what = f"what {type(self).__name__}.update returns"
        check_returned_tensors(updated, what)
        if self.is_from_outside:
            self._check_updated(updated, what)
        return to_record(sections[ARRAYS].cast(updated)), metrics.result()

    def _check_updated(self, updated: Tensors, what: str) -> None:
        check_entries(updated, self.global_model, what)
        for name, value in updated.items():
            if self.global_model[name].is_floating_point() and not value.is_floating_point():
                raise UserError(f"{what} has '{name}' as {value.dtype}: it must be floating-point numbers")

    def _check_transformed(self, transformed: object) -> None:
        what = f"what {type(self).__name__}.transform_reply returns"
        check_returned(transformed, what)
        assert isinstance(transformed, Mapping)
        if ARRAYS not in transformed:
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
