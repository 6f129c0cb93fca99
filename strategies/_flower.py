"""Wraps any strategy that ships with Flower: it sees the model's parameters, and nothing else."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.app.exception import AppExitException
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from common.cohort import cohort_size
from common.config import Config
from common.errors import UserError
from common.flower import new_array_record
from common.flower_limits import check_cohort
from common.records import ARRAYS, Tensors, metrics_record, to_record, to_tensors
from strategies._aggregation import WeightedAverage
from strategies._attributes import data_of
from strategies.fedavg import FedAvg

# The round loop shows a strategy exactly the clients that it should address.
EVERYONE: dict[str, Any] = {
    "fraction_train": 1.0,
    "fraction_evaluate": 1.0,
    "min_train_nodes": 1,
    "min_evaluate_nodes": 1,
    "min_available_nodes": 1,
}
WEIGHT = "aggregation-weight"
"""The metric of a reply that is its weight for a Flower strategy."""


class FlowerStrategy(FedAvg):
    """Lets a Flower strategy aggregate the trainable parameters, and averages all other entries itself.

    Running statistics and counters are not parameters: a server optimiser must not step on them, and a median
    of counters makes no sense. They are averaged as in FedAvg. The Flower strategy sees parameters in the
    global model's order, since some strategies pair them by position.

    Parameters
    ----------
    inner_class : callable
        Makes the Flower strategy.
    weighs_replies : bool
        Whether it weights replies at all; a median, for instance, does not.
    weighting : str
        As in FedAvg; has no effect if it does not weight replies.
    weighted_by_key : str
        The metric that is the weight of a reply with ``weighting = "examples"``.
    **parameters : object
        The Flower strategy's own.
    """

    TRANSIENT = ("inner", "weighs_replies")

    def __init__(
        self,
        inner_class: Callable[..., Strategy],
        weighs_replies: bool,
        weighting: str = "examples",
        weighted_by_key: str = "num-examples",
        **parameters: Any,
    ) -> None:
        super().__init__(weighting=weighting)
        self.weighted_by_key = weighted_by_key
        self.weighs_replies = weighs_replies
        self.inner = inner_class(**EVERYONE, weighted_by_key=WEIGHT, **parameters)

    def measures_changes(self) -> bool:
        """Return whether the Flower strategy steps by changes."""
        return type(self.inner).__name__ in ("FedAvgM", "FedAdagrad", "FedAdam", "FedYogi", "QFedAvg")

    def state(self) -> dict[str, Any]:
        """Add the Flower strategy's state."""
        return {**super().state(), "inner": data_of(vars(self.inner))}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the Flower strategy's attributes as well."""
        vars(self.inner).update(state["inner"])
        super().restore({name: value for name, value in state.items() if name != "inner"})

    def check(self, config: Config) -> None:
        """Refuse cohorts that are too small for the number of malicious clients to tolerate."""
        super().check(config)
        planned = cohort_size(config.clients.count, config.clients.fraction)
        check_cohort(config.method.name, vars(self.inner), planned)

    def client_weight(self, metrics: MetricRecord) -> float:
        """Return 1, or the metric that ``weighted_by_key`` names."""
        return 1.0 if self.weighting == "uniform" else float(metrics[self.weighted_by_key])  # type: ignore[arg-type]

    def why_not_private(self) -> str:
        """Return the reason: the Flower strategy reduces the replies itself."""
        return "which reduces the replies by itself"

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Have the Flower strategy build messages with the parameters, and add the other entries."""
        self.global_model = to_tensors(arrays)
        messages = self.inner.configure_train(server_round, self._parameters(arrays), config, grid)
        return _completed(messages, arrays)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Do the same for evaluation."""
        messages = self.inner.configure_evaluate(server_round, self._parameters(arrays), config, grid)
        return _completed(messages, arrays)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Average the other entries reply by reply; the Flower strategy is given all replies at once.

        Raises
        ------
        UserError
            If the Flower strategy refuses them.
        """
        others = WeightedAverage()
        kept: list[Message] = []
        for reply in replies:
            content = reply.content
            arrays, metrics = content.array_records[ARRAYS], metrics_record(content)
            weight = self.weight(metrics)
            others.add(self._others(arrays), weight)
            metrics[WEIGHT] = weight
            _replace(content, self._parameters(arrays))
            kept.append(reply)
        try:
            # The server reports values that are not finite, with their causes.
            with np.errstate(all="ignore"):
                parameters, aggregated = self.inner.aggregate_train(server_round, kept)
        except AppExitException as error:
            raise UserError(f"'flwr:{type(self.inner).__name__}' cannot aggregate: {error}") from None
        if parameters is None:
            return None, aggregated
        return new_array_record({**parameters, **to_record(others.result())}), aggregated

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Pass on the metrics that all clients reported: a Flower strategy needs the same ones from all."""
        kept = list(replies)
        records = [metrics_record(reply.content) for reply in kept]
        shared = set.intersection(*(set(record) for record in records)) if records else set()
        for record in records:
            for name in set(record) - shared:
                del record[name]
            record[WEIGHT] = record["num-examples"]
        return self.inner.aggregate_evaluate(server_round, kept)

    def _parameters(self, arrays: Mapping[str, Array]) -> ArrayRecord:
        record = _Parameters()
        for name in self.global_model or arrays:
            if name in self.parameter_names:
                record[name] = arrays[name]
        return record

    def _others(self, arrays: Mapping[str, Array]) -> Tensors:
        return to_tensors({name: arrays[name] for name in arrays if name not in self.parameter_names})


class _Parameters(ArrayRecord):
    """A record that frees its bytes without running the garbage collector for each client of a round."""

    def to_numpy_ndarrays(self, *, keep_input: bool = True) -> list[np.ndarray]:
        """Return copies of the arrays."""
        arrays = [array.numpy() for array in self.values()]
        if not keep_input:
            self.clear()
        return arrays


def _completed(messages: Iterable[Message], arrays: ArrayRecord) -> list[Message]:
    """Add to messages the entries of the model that they lack, in the model's order."""
    completed = list(messages)
    for content in {id(message.content): message.content for message in completed}.values():
        sent = content.array_records[ARRAYS]
        _replace(content, new_array_record({name: sent.get(name, array) for name, array in arrays.items()}))
    return completed


def _replace(content: RecordDict, arrays: ArrayRecord) -> None:
    """Replace a message's model; Flower would warn about a record that overwrites another."""
    del content[ARRAYS]
    content[ARRAYS] = arrays
