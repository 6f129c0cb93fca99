"""Calls to the clients of a round: losses, preludes, training, evaluation."""

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from common.compressions import compression_of
from common.records import (
    ARRAYS,
    CONFIG,
    FIRST_STEP,
    LOCAL_STEPS,
    LOSS_QUERY,
    ONE_BATCH,
    PRELUDE,
    SERVER_ROUND,
    SIZE,
    config_record,
    metrics_record,
)
from common.returned import aggregated_metrics, check_clients
from server.messages.content import NUM_EXAMPLES
from server.messages.decompression import Decompression
from server.messages.messenger import num_bytes
from server.messages.replies import ReplyCheck
from server.parts import Run
from server.round_clock import RoundClock

Configure = Callable[[int, ArrayRecord, ConfigRecord, Grid], Iterable[Message]]
Replies = Iterable[Message]


class ClientCalls:
    """Has the strategy build the messages for a cohort, and passes it the replies that pass the check.

    Parameters
    ----------
    run : Run
        The experiment.

    Attributes
    ----------
    clock : RoundClock
        Measures the time that all of it takes.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self.clock = RoundClock(run.parts)
        self._strategy = run.parts.strategy

    def losses(
        self,
        server_round: int,
        model: ArrayRecord,
        cost: Counter[str],
        client_ids: Sequence[int],
        one_batch: bool,
    ) -> dict[int, float]:
        """Ask clients for the loss of the global model on their training data, before a cohort is chosen.

        Failures are treated as in training; the cost is added to `cost`.
        """
        config = ConfigRecord({SERVER_ROUND: server_round, ONE_BATCH: one_batch})
        messenger = self._run.messenger
        content = RecordDict({ARRAYS: model, CONFIG: config})
        built = self._strategy.build_messages(content, LOSS_QUERY, messenger.view(client_ids))
        messages = messenger.by_client(built, client_ids, type(self._strategy).__name__)
        check = self.check(messages, required=(NUM_EXAMPLES, "loss"))
        messenger.send_and_reduce(lambda _, replies: deque(replies, maxlen=0), server_round, messages, check)
        self.clock.ask(messages, check)
        cost.update(clients=len(messages), failures=len(check.failures), bytes_down=num_bytes(messages))
        return {client_id: metrics["loss"] for client_id, metrics in check.metrics.items()}

    def prelude(
        self, server_round: int, model: ArrayRecord, cohort: list[int], steps: Mapping[str, int]
    ) -> tuple[ReplyCheck, int]:
        """Ask clients for what the strategy needs before a round; return the check and the bytes sent."""
        strategy, participation = self._strategy, self._run.parts.participation

        def configure(_: int, arrays: ArrayRecord, config: ConfigRecord, view: Grid) -> list[Message]:
            content = RecordDict({ARRAYS: arrays, CONFIG: config})
            return strategy.build_messages(content, PRELUDE, view)

        asked = strategy.prelude_clients(server_round, cohort)
        num_clients = self._run.parts.config.clients.count
        check_clients(asked, num_clients, f"what {type(strategy).__name__}.prelude_clients returns")
        messages = self.build(configure, server_round, model, asked, steps) if asked else {}
        check = self.check(messages, participation.weights(asked) if asked else None)
        if asked:
            self._run.messenger.send_and_reduce(strategy.aggregate_prelude, server_round, messages, check)
            self.clock.ask(messages, check)
        return check, num_bytes(messages)

    def evaluate(
        self, server_round: int, model: ArrayRecord, cohort: Sequence[int]
    ) -> tuple[Mapping[int, Mapping[str, float]], dict[int, str], Mapping[str, float]]:
        """Have clients evaluate; return their metrics, the size of each one's model, and means.

        The means are those that a strategy from outside the project makes itself; otherwise there are none.
        """
        messages = self.build(self._strategy.configure_evaluate, server_round, model, cohort)
        self._recalibrate(messages)
        check = self.check(messages)
        own = self._run.messenger.send_and_reduce(self._aggregate_evaluate, server_round, messages, check)
        return check.metrics, _sizes(messages), own

    def build(
        self,
        configure: Configure,
        server_round: int,
        model: ArrayRecord,
        cohort: Sequence[int],
        config: Mapping[str, int] | None = None,
    ) -> dict[int, Message]:
        """Have the strategy build the messages for a cohort; it sees only these nodes of the Grid."""
        if not cohort:  # all were stragglers; Flower's own strategies would wait for a node to appear
            return {}
        messenger = self._run.messenger
        record = ConfigRecord({SERVER_ROUND: server_round, **(config or {})})
        built = configure(server_round, model, record, messenger.view(cohort))
        return messenger.by_client(built, cohort, type(self._strategy).__name__)

    def check(
        self,
        messages: Mapping[int, Message],
        weights: Mapping[int, float] | None = None,
        required: Collection[str] = (NUM_EXAMPLES,),
        num_working: int = 0,
        sections: Collection[str] | None = None,
    ) -> ReplyCheck:
        """Return the check for the replies to these messages; parameters as in `ReplyCheck`."""
        config = self._run.parts.config
        compression = compression_of(config)
        sent = {client_id: _model_in(message.content) for client_id, message in messages.items()}
        clients = self._run.parts.clients
        return ReplyCheck(
            list(messages),
            sent,
            config.failures.policy == "drop",
            weights,
            nodes={client_id: message.metadata.dst_node_id for client_id, message in messages.items()},
            required=required,
            most_examples={client_id: int(clients.num_examples[client_id]) for client_id in messages},
            num_working=num_working,
            sections=sections,
            decompression=Decompression(compression, config.seed, messages) if compression else None,
        )

    def _recalibrate(self, messages: Mapping[int, Message]) -> None:
        """Give the models in messages the statistics that central evaluation uses."""
        done: set[int] = set()  # clients, or those of one size, share a content
        sizes = _sizes(messages)
        for client_id, message in messages.items():
            if id(message.content) not in done:
                done.add(id(message.content))
                self._run.parts.evaluation.recalibrate_models(message.content, sizes[client_id])

    def _aggregate_evaluate(self, server_round: int, replies: Replies) -> Mapping[str, float]:
        """Pass the clients' metrics to the strategy, except for clients without test data."""
        measured = (reply for reply in replies if len(metrics_record(reply.content)) > 1)
        aggregated = self._strategy.aggregate_evaluate(server_round, measured)
        deque(replies, maxlen=0)  # a strategy from outside may not have looked at all
        if not self._strategy.has_own("aggregate_evaluate"):
            return {}
        return aggregated_metrics(
            aggregated, f"what {type(self._strategy).__name__}.aggregate_evaluate returns"
        )


def steps_config(steps: int | None, done: int) -> dict[str, int]:
    """Return the config entries for local steps decided by the server; `done` is the number before them."""
    return {} if steps is None else {LOCAL_STEPS: steps, FIRST_STEP: done}


def _sizes(messages: Mapping[int, Message]) -> dict[int, str]:
    """Return the size of the sub-model sent to each client; empty for the whole model."""
    contents = {client_id: message.content for client_id, message in messages.items()}
    return {
        client_id: str(config_record(content).get(SIZE, "")) if CONFIG in content else ""
        for client_id, content in contents.items()
    }


def _model_in(content: RecordDict) -> Mapping[str, Array]:
    model = content.get(ARRAYS)
    return model if isinstance(model, ArrayRecord) else {}
