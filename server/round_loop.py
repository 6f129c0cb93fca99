"""The loop over rounds. It calls only the public methods of Flower's ``Strategy``."""

import functools
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from common.clock import synchronous_seconds
from common.config import Config
from common.errors import UserError
from common.global_generators import seeded_globally
from common.randomness import torch_seed
from common.records import (
    ARRAYS,
    CONFIG,
    FIRST_STEP,
    LOCAL_STEPS,
    METRICS,
    SIZE,
    array_records,
    record_of,
    to_array,
    to_ndarray,
    to_payload,
    to_record,
    to_tensors,
)
from common.stragglers import work_share
from server.checkpoints.checkpoint import Checkpoint, CheckpointStore
from server.checkpoints.state_codec import capture_attributes, restore_attributes
from server.early_stop import EarlyStop
from server.evaluation import CentralEvaluation
from server.interrupt import StopRequest, stop_between_rounds
from server.local_steps import LocalSteps
from server.messages.directory import ClientDirectory
from server.messages.divergence import check_loss, check_model
from server.messages.messenger import Messenger, num_bytes
from server.messages.replies import ReplyCheck
from server.participation import Participation
from server.records.client_metrics import (
    reported,
    summarise_evaluations,
    summarise_training,
    weighted_mean,
)
from server.records.progress import ProgressDisplay
from server.records.results import is_better, is_evaluated, results_of
from server.records.run_directory import RunDirectory
from strategies._aggregation import whole
from strategies.fedavg import FedAvg

Row = dict[str, Any]
Configure = Callable[[int, ArrayRecord, ConfigRecord, Grid], Iterable[Message]]


class RoundLoop:
    """Runs the rounds of an experiment from wherever they stand.

    Parameters
    ----------
    config, grid, strategy, clients, participation, evaluation, run_directory, checkpoints, progress
        The parts of an experiment, ready to use.
    """

    def __init__(
        self,
        config: Config,
        grid: Grid,
        strategy: FedAvg,
        clients: ClientDirectory,
        participation: Participation,
        evaluation: CentralEvaluation,
        run_directory: RunDirectory,
        checkpoints: CheckpointStore,
        progress: ProgressDisplay,
    ) -> None:
        self.config = config
        self.strategy = strategy
        self.clients = clients
        self.participation = participation
        self.evaluation = evaluation
        self.run_directory = run_directory
        self.checkpoints = checkpoints
        self.progress = progress
        self.messenger = Messenger(config, grid, clients, run_directory, progress)
        self.arrays = initial_arrays(config, strategy, evaluation)
        self.server_round = 0
        self.seconds = 0.0
        self.early_stop = EarlyStop(config.stop)
        self.local_steps = LocalSteps(config)
        self.best: Row = {}
        self.final: Row = {}
        self.stopped = ""
        self._trained_since_checkpoint: set[int] = set()
        self._committed_at = time.monotonic()

    # State on disk.

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take up a run where a checkpoint left it."""
        self.server_round = checkpoint.server_round
        self.arrays = to_record({name: checkpoint.arrays[name] for name in self.arrays})
        restore_attributes(self.strategy, *checkpoint.strategy)
        progress = checkpoint.progress
        self.seconds = progress["seconds"]
        self.best, self.final, self.stopped = progress["best"], progress["final"], progress["stopped"]
        vars(self.early_stop).update(progress["early_stop"])
        self.participation.restore(progress.get("participation", {}))
        self.local_steps.restore(progress.get("local_steps", {}))
        for remark in self.run_directory.restore_rows(progress["rows"]):
            self.progress.note(remark)
        states = {
            client_id: RecordDict({name: to_record(section) for name, section in sections.items()})
            for client_id, sections in checkpoint.clients.items()
        }
        deque(self.messenger.query("set_state", states), maxlen=0)

    def commit(self) -> None:
        """Write a checkpoint of the last finished round."""
        trained = self._trained_since_checkpoint if self.clients.keeps_state else ()
        question = {client_id: RecordDict({CONFIG: ConfigRecord()}) for client_id in trained}
        answers = self.messenger.query("get_state", question)
        early_stop = {key: value for key, value in vars(self.early_stop).items() if not key.startswith("_")}
        self.checkpoints.commit(
            Checkpoint(
                self.server_round,
                to_tensors(self.arrays),
                capture_attributes(self.strategy),
                {
                    "seconds": self.seconds,
                    "best": self.best,
                    "final": self.final,
                    "stopped": self.stopped,
                    "early_stop": early_stop,
                    "participation": self.participation.state(),
                    "local_steps": self.local_steps.state(),
                    "rows": self.run_directory.commit_rows(),
                },
                dict(self.config.flat()),
            ),
            ((client_id, to_payload(content)) for client_id, content in answers),
        )
        self._trained_since_checkpoint.clear()
        self._committed_at = time.monotonic()

    # The rounds.

    def run(self) -> None:
        """Run until the last round, an early stop, a failure, or a request to stop.

        Raises
        ------
        ClientFailureError
            If clients failed and the policy does not tolerate it.
        KeyboardInterrupt
            After a request to stop, once the current round is committed.
        """
        self.progress.start(self.server_round, self.config.rounds)
        try:
            with stop_between_rounds(self.progress.note, self.run_directory.path) as request:
                if self.server_round == 0:
                    started = time.perf_counter()
                    self._finish_round({"round": 0, **self._evaluate_centrally()}, started)
                while self.server_round < self.config.rounds and not self.stopped:
                    server_round = self.server_round + 1
                    with seeded_globally(torch_seed(self.config.seed, "round", server_round)):
                        self._run_round(server_round, request)
        finally:
            self.progress.stop()

    def _run_round(self, server_round: int, request: StopRequest) -> None:
        started = time.perf_counter()
        row = self._train(server_round)
        self.server_round = server_round
        is_last = server_round == self.config.rounds
        is_evaluated = self.config.evaluates(server_round)
        if is_evaluated:
            row |= self._evaluate_centrally()
        budget_spent = self.local_steps.observe(row.get("steps"), row)
        if reason := self.early_stop.reason(row) or budget_spent:
            self.stopped, is_last = reason, True
            if not is_evaluated:  # train_loss may stop a run in any round; its final model is evaluated
                is_evaluated = True
                row |= self._evaluate_centrally()
        if is_evaluated and (fraction := self._evaluation_fraction(is_last)):
            row |= self._evaluate_on_clients(server_round, fraction)
        self._finish_round(row, started)
        if self.stopped:
            self.progress.note(f"stopped after round {server_round}: {self.stopped}")
        if is_last or request.requested or self._is_checkpoint_due():
            self.commit()
        if request.requested and not is_last:
            raise KeyboardInterrupt

    def _is_checkpoint_due(self) -> bool:
        checkpoint = self.config.checkpoint
        minutes = (time.monotonic() - self._committed_at) / 60
        return self.server_round % checkpoint.every == 0 or 0 < checkpoint.minutes <= minutes

    def _train(self, server_round: int) -> Row:
        queries: Counter[str] = Counter()  # what asking for losses has cost
        ask_losses = functools.partial(self._ask_losses, server_round, queries)
        cohort = self.strategy.cohort(server_round)
        if cohort is None:
            cohort = self.participation.cohort(
                server_round, self.config.clients.fraction, ask_losses=ask_losses
            )
        cohort = self._in_time(cohort, server_round)
        steps = self.local_steps.decide(server_round)
        cohort = self._prelude(server_round, cohort, steps, queries)
        messages = self._build(self.strategy.configure_train, server_round, cohort, steps)
        check = self._reply_check(messages, self.participation.weights(cohort))
        arrays, _ = self.messenger.reduce(self.strategy.aggregate_train, server_round, messages, check)
        if arrays is not None:
            self.arrays = conform(arrays, self.arrays)
            check_model(to_tensors(self.arrays), self.config, self.strategy, server_round)
        else:
            self._stand_still(server_round, check)
        for client_id, metrics in check.metrics.items():
            self.run_directory.clients.append(
                {
                    "round": server_round,
                    "client_id": client_id,
                    "num_examples": int(metrics["num-examples"]),
                    "steps": int(metrics["num-steps"]),
                    "loss": metrics["train_loss"],
                    "seconds": metrics["seconds"],
                }
            )
        self._trained_since_checkpoint |= check.worked
        self.participation.observe(
            {client_id: metrics["train_loss"] for client_id, metrics in check.metrics.items()}
        )
        return {
            "round": server_round,
            "train_loss": weighted_mean(check.metrics, "train_loss"),
            "clients": len(check.metrics),
            "failures": len(check.failures) + queries["failures"],
            "bytes_down": num_bytes(messages) + queries["bytes_down"],
            "bytes_up": check.num_bytes + queries["bytes_up"],
            "local_steps": int(sum(metrics["num-steps"] for metrics in check.metrics.values())),
            "num_examples": int(sum(metrics["num-examples"] for metrics in check.metrics.values())),
            "loss_queries": queries["clients"] or None,
            **summarise_training(check.metrics),
            "samples": int(sum(metrics.get("num-samples", 0) for metrics in check.metrics.values())),
            "learning_rate": next((metrics.get("learning-rate") for metrics in check.metrics.values()), None),
            "steps": steps,
            "virtual_seconds": synchronous_seconds(self.config, server_round, cohort),
        }

    def _prelude(
        self, server_round: int, cohort: list[int], steps: int | None, cost: Counter[str]
    ) -> list[int]:
        """Ask clients for what the strategy has to know before the round; the cost is added to `cost`.

        Return the cohort without those that failed to answer.
        """
        strategy = self.strategy
        if not (asked := strategy.prelude_clients(server_round, cohort)):
            return cohort

        def ask(_: int, arrays: ArrayRecord, config: ConfigRecord, view: Grid) -> list[Message]:
            return strategy.build_messages(
                RecordDict({ARRAYS: arrays, CONFIG: config}), "query.prelude", view
            )

        messages = self._build(ask, server_round, asked, steps)
        check = self._reply_check(messages, self.participation.weights(asked))
        self.messenger.reduce(strategy.aggregate_prelude, server_round, messages, check)
        self._trained_since_checkpoint |= check.worked
        cost.update(failures=len(check.failures), bytes_down=num_bytes(messages), bytes_up=check.num_bytes)
        failed = {failure.client_id for failure in check.failures}
        return [client_id for client_id in cohort if client_id not in failed]

    def _stand_still(self, server_round: int, check: ReplyCheck) -> None:
        """Keep the model of a round that a strategy made nothing of: only if clients failed in it."""
        method, num_replies = self.config.method.name, len(check.metrics)
        text = f"'{method}' made no model of the {num_replies} replies of round {server_round}"
        if num_replies and not check.failures:
            raise UserError(
                f"{text}: its parameters may need a larger cohort (clients.count, clients.fraction)"
            )
        self.progress.note(f"{text}: the model stays as it was")

    def _in_time(self, cohort: list[int], server_round: int) -> list[int]:
        """Return the clients that are called: with ``stragglers.policy = "drop"``, no stragglers."""
        if self.config.stragglers.policy == "keep":
            return cohort
        return [client_id for client_id in cohort if work_share(self.config, server_round, client_id) == 1]

    def _ask_losses(
        self, server_round: int, cost: Counter[str], client_ids: Sequence[int], one_batch: bool
    ) -> dict[int, float]:
        """Ask clients for the loss of the global model on their training data, before a cohort is chosen.

        Failures are treated as in training; the cost is added to `cost`.
        """
        query = RecordDict(
            {
                ARRAYS: self._shared_arrays(),
                CONFIG: ConfigRecord({"server-round": server_round, "one-batch": one_batch}),
            }
        )
        view = self.messenger.view(client_ids)
        messages = self.messenger.by_client(self.strategy.build_messages(query, "query.loss", view))
        check = self._reply_check(messages)
        self.messenger.reduce(lambda _, replies: deque(replies, maxlen=0), server_round, messages, check)
        cost.update(clients=len(messages), failures=len(check.failures), bytes_down=num_bytes(messages))
        return {client_id: metrics["loss"] for client_id, metrics in check.metrics.items()}

    def _evaluate_centrally(self) -> dict[str, float]:
        """Evaluate the global model, and its variants if the method has any."""
        row = self.evaluation(self.arrays, self.strategy.variants(to_tensors(self.arrays)))
        check_loss(row, self.config, self.strategy, self.server_round)
        return row

    def _evaluation_fraction(self, is_last: bool) -> float:
        """Return which fraction of clients evaluates; if none does, all do so at the end if personalised."""
        fraction = self.config.clients.evaluate_fraction
        return 1.0 if is_last and fraction == 0 and self.clients.is_personalised else fraction

    def _evaluate_on_clients(self, server_round: int, fraction: float) -> Row:
        cohort = self.participation.cohort(server_round, fraction, "evaluation")
        messages = self._build(self.strategy.configure_evaluate, server_round, cohort)
        if self.evaluation.recalibrates_sizes:
            self._recalibrate(messages)
        check = self._reply_check(messages)
        self.messenger.reduce(self._aggregate_evaluate, server_round, messages, check)
        for client_id, metrics in check.metrics.items():
            values: Row = {"num_examples": int(metrics["num-examples"]), **reported(metrics)}
            self.run_directory.evaluations.append({"round": server_round, "client_id": client_id, **values})
        return summarise_evaluations(check.metrics, _sizes(messages))

    def _recalibrate(self, messages: Mapping[int, Message]) -> None:
        """Give the sub-models in messages the statistics that they would be evaluated with here."""
        done: set[int] = set()  # clients of one size share a content
        sizes = _sizes(messages)
        for client_id, message in messages.items():
            if id(message.content) not in done:
                done.add(id(message.content))
                arrays = message.content.array_records[ARRAYS]
                message.content[ARRAYS] = self.evaluation.recalibrated(arrays, sizes[client_id])

    def _aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> None:
        """Show the strategy what clients measured; those without test data have measured nothing."""
        measured = (reply for reply in replies if len(reply.content.metric_records[METRICS]) > 1)
        self.strategy.aggregate_evaluate(server_round, measured)

    def _build(
        self, configure: Configure, server_round: int, cohort: Sequence[int], steps: int | None = None
    ) -> dict[int, Message]:
        """Let the strategy build the messages for a cohort, which is all that it sees of the Grid."""
        if not cohort:  # all were stragglers; Flower's own strategies would wait for a node to appear
            return {}
        config = ConfigRecord({"server-round": server_round})
        if steps is not None:
            config[LOCAL_STEPS] = steps
            config[FIRST_STEP] = self.local_steps.done
        view = self.messenger.view(cohort)
        return self.messenger.by_client(configure(server_round, self._shared_arrays(), config, view))

    def _reply_check(
        self, messages: Mapping[int, Message], weights: Mapping[int, float] | None = None
    ) -> ReplyCheck:
        tolerate = self.config.failures.policy == "drop"
        sent: dict[int, Mapping[str, Array]] = {
            client_id: array_records(message.content).get(ARRAYS, {})
            for client_id, message in messages.items()
        }
        return ReplyCheck(list(messages), sent, tolerate, weights)

    def _shared_arrays(self) -> ArrayRecord:
        """Return what of the model travels: all but the entries that clients keep for themselves."""
        personal = self.clients.personal_names
        return record_of({name: array for name, array in self.arrays.items() if name not in personal})

    def _finish_round(self, row: Row, started: float) -> None:
        row |= self.strategy.columns(row["round"])
        row["seconds"] = time.perf_counter() - started
        self.seconds += row["seconds"]
        if is_evaluated(row):
            self.final = {"round": row["round"], **results_of(row)}
            if row["round"] > 0 and is_better(row, self.best):
                self.best = dict(self.final)
            for class_row in self.evaluation.class_rows():
                self.run_directory.classes.append({"round": row["round"], **class_row})
        self.run_directory.metrics.append(row)
        self.progress.show(row)


def initial_arrays(config: Config, strategy: FedAvg, evaluation: CentralEvaluation) -> ArrayRecord:
    """Return the model that a run starts from; a method may put something of its own into it."""
    return to_record(strategy.initial_model(to_tensors(evaluation.initial_arrays()), config.seed))


def _sizes(messages: Mapping[int, Message]) -> dict[int, str]:
    """Return the size of the sub-model that each client was sent, empty for the whole model."""
    records = {client_id: message.content.config_records for client_id, message in messages.items()}
    return {
        client_id: str(record[CONFIG].get(SIZE, "")) if CONFIG in record else ""
        for client_id, record in records.items()
    }


def conform(arrays: Mapping[str, Array], reference: Mapping[str, Array]) -> ArrayRecord:
    """Return a strategy's result in the order and dtypes of the global model.

    A strategy may average integer buffers as floats, which are cut to whole numbers as those of FedAvg; names
    that it left out stay.

    Raises
    ------
    ValueError
        If the strategy returned an unknown name or another shape.
    """
    for name, array in arrays.items():
        if name not in reference or array.shape != reference[name].shape:
            raise ValueError(
                f"the strategy returned '{name}' with shape {array.shape}, which the model does not have"
            )
    conformed = {}
    for name, old in reference.items():
        new = arrays.get(name, old)
        if new.dtype != old.dtype:
            values = to_ndarray(new)
            if old.dtype.startswith(("int", "uint")):
                values = whole(torch.from_numpy(values).double()).numpy()
            new = to_array(values.astype(old.dtype))
        conformed[name] = new
    return record_of(conformed)
