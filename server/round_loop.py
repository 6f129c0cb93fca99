"""The loop over rounds: select, train, aggregate, evaluate, notify."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from flwr.app import ArrayRecord, Message, MetricRecord

from common.errors import UserError, shown
from common.flower import new_array_record
from common.global_generators import seeded_globally
from common.outside_code import runs_outside_code
from common.randomness import torch_seed
from common.records import to_record, to_tensors
from common.returned import aggregated_metrics, check_aggregated, check_like, check_number
from server.checkpoints.checkpoint import Checkpoint
from server.checkpoints.resumable import PluginCode, RunData, check_fits
from server.cohorts import Cohorts
from server.interrupt import StopRequest, stop_between_rounds
from server.local_steps import LocalSteps
from server.messages.client_calls import ClientCalls, steps_config
from server.messages.conform import conform
from server.messages.content import TRAINED
from server.messages.divergence import check_loss, check_model
from server.messages.replies import ReplyCheck
from server.observers import Observers, Round
from server.observers._columns import check_column
from server.parts import Run
from server.records.client_metrics import (
    aggregated_evaluations,
    aggregated_training,
    summarise_evaluations,
)
from server.records.training_row import training_row
from server.stopwatch import Stopwatch
from server.variants import variants_of
from strategies._aggregation import AveragingError
from strategies.fedavg import FedAvg


class RoundLoop:
    """Runs the rounds of an experiment, starting from any round. Knows no method and writes no file.

    Parameters
    ----------
    run : Run
        The experiment.
    observers : Observers
        The observers of the run.

    Attributes
    ----------
    arrays : ArrayRecord
        The global model.
    server_round : int
        The last finished round.
    seconds : float
        Total duration of the rounds.
    stopped : str
        Why the run ended before its last round, if it did.
    """

    def __init__(self, run: Run, observers: Observers) -> None:
        parts = run.parts
        self.parts, self.config, self.strategy = parts, parts.config, parts.strategy
        self.messenger, self.progress, self.run_directory = run.messenger, run.progress, run.run_directory
        self.checkpoints = run.checkpoints
        self.calls = ClientCalls(run)
        self.cohorts = Cohorts(parts, self.calls)
        initial = to_tensors(parts.evaluation.initial_arrays())
        started = parts.strategy.initial_model(initial, self.config.seed)
        what = f"what {type(parts.strategy).__name__}.initial_model returns"
        check_like(started, initial, what, "return every entry of the model, changed or not")
        self.arrays = to_record(started)
        self.server_round = 0
        self.seconds = 0.0
        self.stopped = ""
        self.local_steps = LocalSteps(self.config)
        self.watch = Stopwatch()
        self.observers = observers
        observers.start(
            run,
            {
                "loop": self,
                "participation": parts.participation,
                "local_steps": self.local_steps,
                "data": RunData(parts),
                "code": PluginCode(run.progress.note),
            },
        )

    def resume(self, checkpoint: Checkpoint) -> None:
        """Resume a run from a checkpoint.

        Raises
        ------
        UserError
            If the checkpoint has another model or other clients.
        """
        check_fits(checkpoint, self.arrays, self.config.clients.count)
        self.server_round = checkpoint.server_round
        self.arrays = to_record({name: checkpoint.arrays[name] for name in self.arrays})
        self.observers.checkpointing.resume(checkpoint)

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint, in addition to the model."""
        return {"seconds": self.seconds, "stopped": self.stopped}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state`` returned."""
        self.seconds, self.stopped = state["seconds"], state["stopped"]

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
                runs_outside = runs_outside_code(self.config)
                if self.server_round == 0:
                    started = time.perf_counter()
                    with self.watch.phase("evaluate"):
                        initial = self._evaluate_centrally() if self.config.evaluate.first else {}
                    self._notify(Round(0, row={"round": 0, **initial}), started)
                if self.server_round < self.config.rounds and not self.stopped:
                    self.run_directory.remove_summary()
                while self.server_round < self.config.rounds and not self.stopped:
                    number = self.server_round + 1
                    seed = torch_seed(self.config.seed, "round", number)
                    with seeded_globally(seed, needed=runs_outside):
                        self._run_round(Round(number, start=self._shared_arrays()), request)
        finally:
            self.observers.end()
            self.progress.stop()

    def _run_round(self, current: Round, request: StopRequest) -> None:
        started = time.perf_counter()
        with self.watch.phase("select"):
            self.messenger.take_back()
        self._train(current)
        self.server_round = current.number
        with self.watch.phase("evaluate"):
            self._evaluate(current)
        current.stop_requested = request.requested
        self._notify(current, started)
        is_committed = self.observers.checkpointing.committed == current.number
        if request.requested and is_committed and not current.is_last:
            self.progress.note(f"stopped after round {current.number} of {self.config.rounds}, as asked")
            raise KeyboardInterrupt

    # Select, train and aggregate.

    def _train(self, current: Round) -> None:
        cost: Counter[str] = Counter()  # the cost of asking before the round
        with self.watch.phase("select"):
            cohort = self.cohorts.select(current.number, self._shared_arrays, cost)
            steps = self.local_steps.decide(current.number)
            in_message = steps_config(steps, self.local_steps.done)
            cohort, worked = self.cohorts.answering(
                current.number, self._shared_arrays(), cohort, in_message, cost
            )
            current.worked |= worked
        with self.watch.phase("send"):
            current.messages = self.calls.build(
                self.strategy.configure_train, current.number, self._shared_arrays(), cohort, in_message
            )
            weights, num_working = self.parts.participation.weights(cohort), self.strategy.num_working()
            check_number(num_working, f"what {type(self.strategy).__name__}.num_working returns")
            sections = self.strategy.SECTIONS
            check = self.calls.check(current.messages, weights, TRAINED, num_working, sections)
        with self.watch.phase("reduce"):  # less what is sent and trained while replies are awaited
            own = self._aggregate(current, check)
            current.metrics, current.worked = check.metrics, current.worked | check.worked
            current.row = {
                **training_row(current, check, cost),
                "steps": steps,
                "virtual_seconds": self.calls.clock.train(
                    current.number, cohort, current.messages, check, steps
                ),
            }
            self._add_aggregated(current, own)
            current.seconds = self.calls.clock.seconds
        with self.watch.phase("write"):
            self.observers.on_train(current)

    def _aggregate(self, current: Round, check: ReplyCheck) -> Mapping[str, float]:
        """Make the new model; return the metrics that a strategy from outside has aggregated itself."""

        def aggregate(
            number: int, replies: Iterable[Message]
        ) -> tuple[ArrayRecord | None, MetricRecord | None]:
            try:
                return self.strategy.aggregate_train(number, self.observers.replies(current, replies))
            except AveragingError as error:
                if not self.strategy.is_from_outside:
                    raise
                raise UserError(f"{whose}: {error}") from None

        whose = f"{type(self.strategy).__name__}.aggregate_train"
        result = self.messenger.send_and_reduce(
            aggregate, current.number, current.messages, check, self.watch
        )
        arrays, metrics = check_aggregated(result, f"what {whose} returns")
        current.aggregated = arrays
        if arrays is None:
            self._stand_still(current, check)
        else:
            self.arrays = conform(arrays, self.arrays, f"what {whose} returns")
            check_model(to_tensors(self.arrays), self.config, self.strategy, current.number)
        current.arrays = self.arrays
        return (
            aggregated_metrics(metrics, f"what {whose} returns")
            if self.strategy.has_own("aggregate_train")
            else {}
        )

    def _add_aggregated(self, current: Round, own: Mapping[str, float]) -> None:
        """Add to the row what a strategy from outside has aggregated of the clients' metrics itself."""
        whose = f"{type(self.strategy).__name__}.aggregate_train"
        for name, value in aggregated_training(own, current.metrics).items():
            if not name.startswith("train_"):
                check_column(name, value, current.row, whose)
            current.row[name] = value

    def _stand_still(self, current: Round, check: ReplyCheck) -> None:
        """Keep the model if the strategy returned none for a round; allowed only if clients failed in it."""
        method, num_replies = self.config.method.name, len(check.metrics)
        text = f"'{method}' made no model of the {num_replies} replies of round {current.number}"
        if current.messages and not num_replies and not check.failures:
            raise UserError(
                f"{text}: {type(self.strategy).__name__}.aggregate_train must look at all of them"
            )
        if num_replies and not check.failures:
            raise UserError(
                f"{text}: its parameters may need a larger cohort (clients.count, clients.fraction)"
            )
        self.progress.note(f"{text}: the model stays as it was")

    # Evaluate.

    def _evaluate(self, current: Round) -> None:
        """Evaluate if it is time to; a run that ends early is evaluated at its end."""
        row = current.row
        current.is_last = current.number == self.config.rounds
        is_evaluated = self.config.evaluates(current.number)
        if is_evaluated:
            row |= self._evaluate_centrally()
        budget_spent = self.local_steps.observe(row.get("steps"), row)
        if reason := self.observers.stop_reason(current) or budget_spent:
            self.stopped, current.is_last = reason, True
            if not is_evaluated:  # train_loss may stop a run in any round
                is_evaluated = True
                row |= self._evaluate_centrally()
        if is_evaluated and (fraction := self._evaluation_fraction(current.is_last)):
            cohort = self.parts.participation.cohort(current.number, fraction, "evaluation")
            current.evaluations, sizes, own = self.calls.evaluate(
                current.number, self._shared_arrays(), cohort
            )
            row |= summarise_evaluations(current.evaluations, sizes) | aggregated_evaluations(own)

    def _evaluate_centrally(self) -> dict[str, float]:
        """Evaluate the global model, if there is one, and its variants if the method has any."""
        if not self.parts.has_global_model:
            return {}
        row = self.parts.evaluation(self.arrays, variants_of(self.strategy, to_tensors(self.arrays)))
        check_loss(row, self.config, self.strategy, self.server_round)
        return row

    def _evaluation_fraction(self, is_last: bool) -> float:
        """Return the fraction of clients that evaluate; if 0, all do at the end of a personalised run."""
        fraction = self.config.clients.evaluate_fraction
        if not self.config.evaluate.test:  # clients evaluate on test data, too
            return 0.0
        return 1.0 if is_last and fraction == 0 and self.parts.clients.is_personalised else fraction

    # Notify.

    def _notify(self, current: Round, started: float) -> None:
        current.arrays = self.arrays
        current.row |= self._columns(current)
        current.row["seconds"] = time.perf_counter() - started
        self.seconds += current.row["seconds"]
        with self.watch.phase("write"):  # the time of this row and its checkpoint counts for the next round
            current.row |= self.watch.take()
            self.observers.on_round(current)
        if self.stopped and current.is_last:
            self.progress.note(f"stopped after round {current.number}: {self.stopped}")

    def _columns(self, current: Round) -> Mapping[str, float]:
        """Return the strategy's columns of a round."""
        cls = type(self.strategy)
        if not isinstance(metrics := self.strategy.round_metrics, Mapping):
            raise UserError(
                f"{cls.__name__}.round_metrics must map names to numbers, and is {shown(metrics)}"
            )
        columns = self.strategy.columns(current.number)
        who = f"{cls.__name__}.{'round_metrics' if cls.columns is FedAvg.columns else 'columns'}"
        if not isinstance(columns, Mapping):
            raise UserError(f"{who} must return a mapping of names to numbers, not {shown(columns)}")
        row = current.row.keys() - {"virtual_seconds"}  # which a method with a clock of its own replaces
        for key, value in columns.items():
            check_column(key, value, row, who)
        return columns

    def _shared_arrays(self) -> ArrayRecord:
        """Return the entries of the model that are sent: all but the clients' personal ones."""
        personal = self.parts.clients.personal_names
        return new_array_record({name: array for name, array in self.arrays.items() if name not in personal})
