"""The client half of FedAvg: one round, and the other jobs of a client."""

import functools
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

import torch
from flwr.app import Array, ConfigRecord, MessageType

from clients.local.attacks import Attack, attack_of
from clients.local.checked_hooks import (
    checked_init_state,
    checked_personal_model,
    checked_receives,
)
from clients.local.evaluation import client_evaluation_data, evaluate_global_model, predictors_of
from clients.local.helpers import Helpers
from clients.local.incoming import check_sections
from clients.local.individual_init import individual_init
from clients.local.numpy_client import ListInterface
from clients.local.outside import check_writes, versions
from clients.local.training import train_locally
from common.errors import UserError
from common.global_generators import seeded_globally
from common.randomness import numpy_generator, torch_generator, torch_seed
from common.records import (
    ARRAYS,
    FINITE_STEPS,
    LOSS_QUERY,
    NOT_MADE,
    ONE_BATCH,
    PERSONAL_MODEL,
    PRELUDE,
    SERVER_ROUND,
    Payload,
    Tensors,
)
from common.returned import (
    call_for_effect,
    check_finite,
    check_like,
    check_sent,
)
from models.measures.evaluation import evaluate
from models.measures.numbers import evaluate_numbers

KEPT_ENTRIES = "kept-entries"
"""The section of a client's state with the entries of the model that it keeps."""
_PERSONAL = ("personal_names", "personal_model", "personal_predictor", "personal_predictors")
Result = TypeVar("Result")


class Outcome(NamedTuple):
    """The result of a client's local steps in one round.

    Attributes
    ----------
    loss : float
        Mean over the samples of the steps.
    started : float
        When the round began, by ``time.perf_counter``.
    model : Tensors
        The trained model's parameters and buffers.
    arrays : Mapping[int, Array]
        The tensors that have been serialised already: ``id`` of the tensor → its serialised form.
    """

    loss: float
    started: float
    model: Tensors
    arrays: Mapping[int, Array] = NOT_MADE


def _seeded(
    job: Callable[["Client", Payload, ConfigRecord], Result],
) -> Callable[["Client", Payload, ConfigRecord], Result]:
    """Run a job with the global generators seeded for this client and round."""

    @functools.wraps(job)
    def run(client: "Client", received: Payload, config: ConfigRecord) -> Result:
        worker, server_round = client.worker, int(config[SERVER_ROUND])  # type: ignore[arg-type]
        if not worker.runs_outside_code:
            return job(client, received, config)
        seed = torch_seed(worker.config.seed, "job", server_round, client.client_id)
        with seeded_globally(seed, worker.device, worker.own_generators):
            return job(client, received, config)

    return run


class Client(Helpers, ListInterface):
    """Local SGD from the global model: FedAvg (McMahan et al. 2017, Algorithm 1, ClientUpdate).

    A method subclasses this in ``clients/<method>.py`` and overrides hooks (``clients/hooks.py``); its
    parameters are annotated class attributes with a default.
    """

    @property
    def kept_entries(self) -> Tensors:
        """The entries of the model that the client has kept from its last round."""
        return self.state.get(KEPT_ENTRIES, {})

    @classmethod
    def is_personalised(cls) -> bool:
        """Return whether clients predict with anything other than the global model."""
        return any(map(cls.overrides, _PERSONAL))

    # One round.

    @_seeded
    def train(self, received: Payload, config: ConfigRecord) -> tuple[Payload, dict[str, int | float]]:
        """Train for one round.

        Parameters
        ----------
        received : Payload
            ``"arrays"``, the global model without ``personal_names``, and the sections that the method's
            server half adds. Not written to.
        config : ConfigRecord
            ``server-round``, from 1.

        Returns
        -------
        tuple[Payload, dict]
            The reply's sections (``"arrays"`` are the live tensors of the resident model: serialise them
            before the next job) and its metrics.
        """
        started = time.perf_counter()
        self.prepare(received, config)
        self.num_steps, loss = train_locally(self)
        return self.conclude(Outcome(loss, started, self.worker.model_state))

    def prepare(self, received: Payload, config: ConfigRecord) -> None:
        """Do the part of a round that comes before its steps; parameters as in ``train``."""
        self._receive(received, config)
        self._versions = versions(self.received) if self.is_from_outside else {}
        call_for_effect(self.begin_round)
        if self.overrides("begin_round"):
            self.worker.mark_trained()

    def conclude(self, outcome: Outcome) -> tuple[Payload, dict[str, int | float]]:
        """Do the part of a round that comes after its steps; returns as ``train`` does."""
        measured, num_samples = self.training_metrics, self.num_samples  # `end_round` may train again
        extra: Payload = {}
        if self.overrides("end_round"):  # entering no_grad costs more than a hook that does nothing
            with torch.no_grad():
                extra = self.end_round(self.params)
            check_sent(extra, f"what {type(self).__name__}.end_round returns")
        if self.is_from_outside:
            check_writes(self, self._versions)
        if self.kept_names:
            self.state[KEPT_ENTRIES] = {
                name: outcome.model[name].detach().clone() for name in self.kept_names
            }
        metrics: dict[str, int | float] = {
            "num-examples": self.num_examples,
            "num-steps": self.num_steps,
            "num-samples": num_samples,
            "learning-rate": self.mean_rate,
            "train_loss": outcome.loss,
            **measured,
            "seconds": time.perf_counter() - outcome.started,
        }
        if self.finite_steps is not None:
            metrics[FINITE_STEPS] = self.finite_steps
        return {**extra, ARRAYS: self._sent(outcome.model, extra.get(ARRAYS, {}))}, metrics

    def _sent(self, model: Tensors, instead: Tensors) -> Tensors:
        """Return the entries of the model that are sent: the trained ones, or those of `instead`."""
        personal = self.personal_names()
        shared = {name: value for name, value in model.items() if name not in personal}
        if instead:
            what = f"what {type(self).__name__}.end_round returns as '{ARRAYS}'"
            if unknown := next((name for name in instead if name not in shared), ""):
                raise UserError(
                    f"{what} replaces entries of the model that is sent, but '{unknown}' is not one of them"
                )
            check_like(instead, shared, what, "", list(instead))
        shared |= instead
        if attack := attack_of(self.worker.config, self.client_id):
            shared |= self._attacked(attack, shared)
        return shared

    @torch.no_grad()
    def _attacked(self, attack: Attack, shared: Tensors) -> Tensors:
        """Return what an attacker sends instead of the trained entries."""
        trained = {name: value.detach() for name, value in shared.items() if name in self.params}
        key = (self.server_round, self.client_id)
        generator = torch_generator(self.worker.config.seed, "attack-update", *key, device=self.worker.device)
        start = {name: self.global_params[name] for name in trained}
        sent = attack.model(trained, start, generator)
        what = f"what {type(attack).__name__}.model returns"
        check_like(sent, trained, what, "it would be sent as it was trained")
        return sent

    @_seeded
    def test(self, received: Payload, config: ConfigRecord) -> dict[str, int | float]:
        """Evaluate on the test data of this client (``clients.local.evaluation``).

        Returns
        -------
        dict
            ``loss`` and ``accuracy`` of the global model, unless parts of it are personal;
            ``personal_loss`` and ``personal_accuracy`` of the client's own model, if the method has one, and
            ``personal_<name>_accuracy`` of any further ``personal_predictors``. A client without test data
            reports none of these. For long-tailed data, also the metrics of ``ClassReport``.
        """
        self._receive(received, config, MessageType.EVALUATE)
        data = client_evaluation_data(self)
        metrics: dict[str, int | float] = {"num-examples": self.num_examples}
        if not len(data.targets):
            return metrics
        if not self.personal_names():
            metrics |= evaluate_global_model(self, received[ARRAYS])
        if self.is_personalised():
            self.worker.load(checked_personal_model(self))
            for name, predictor in predictors_of(self).items():
                metrics |= data.measure(predictor, f"personal_{name}_" if name else "personal_")
        return metrics

    @_seeded
    def own_model(self, received: Payload, config: ConfigRecord) -> Tensors:
        """Return the model with which this client predicts in ``test``: live tensors of the resident model.

        Raises
        ------
        UserError
            If it predicts with the global model, or with more than a model.
        """
        self._receive(received, config, PERSONAL_MODEL)
        name = self.worker.config.method.name
        if self.overrides("personal_predictor"):
            raise UserError(
                f"clients of '{name}' do not predict with a model alone, so there is none to extract:"
                " leave --client out for the global model"
            )
        if not (self.is_personalised() or self.kept_names or self.RECEIVES_OWN_MODEL):
            raise UserError(
                f"clients of '{name}' have no personal models: leave --client out for the global model"
            )
        self.worker.load(checked_personal_model(self))
        return self.worker.model_state

    @_seeded
    def answer_prelude(
        self, received: Payload, config: ConfigRecord
    ) -> tuple[Payload, dict[str, int | float]]:
        """Return the sections of ``prelude`` and the number of examples; nothing is trained."""
        self._receive(received, config, PRELUDE)
        sections = self.prelude()
        check_sent(sections, f"what {type(self).__name__}.prelude returns")
        return sections, {"num-examples": self.num_examples}

    @_seeded
    def training_loss(self, received: Payload, config: ConfigRecord) -> dict[str, int | float]:
        """Return the global model's mean cross-entropy, or squared error, on the client's training data.

        In evaluation mode and without augmentation, but with label noise; with ``one-batch`` in `config`, on
        one mini-batch.
        """
        self._receive(received, config, LOSS_QUERY)
        worker, indices = self.worker, self.indices
        if config[ONE_BATCH]:
            generator = numpy_generator(worker.config.seed, "measurement", self.server_round, self.client_id)
            indices = generator.permutation(indices)[: worker.config.local.batch_size]
        samples = torch.from_numpy(indices).to(worker.device)
        noisy = self.noisy_labels(self.server_round)
        given = worker.train.inputs.index_select(0, samples), noisy(worker.train.targets[samples])
        normalizer, batch_size = (
            self.normalizer("measurement", self.server_round),
            worker.config.evaluate.batch_size,
        )
        if worker.dataset.is_regression:
            loss = evaluate_numbers(worker.model, *given, normalizer, batch_size).results()["loss"]
        else:
            sums = evaluate(worker.model, *given, normalizer, worker.dataset.num_classes, batch_size)
            loss = sums.mean()[0]
        return {"num-examples": self.num_examples, "loss": loss}

    @functools.cached_property
    def kept_names(self) -> list[str]:
        """Entries of the model that the client keeps: personal ones, and local BatchNorm statistics."""
        is_local = self.worker.config.batch_norm.policy == "local"
        kept = {*self.personal_names(), *(self.worker.buffers if is_local else ())}
        return [name for name in self.worker.model_state if name in kept] if kept else []

    def _takes_individual_init(self, job: str) -> bool:
        """Return whether the job starts from the client's own initial weights."""
        is_first = self.server_round == 1 and job in (MessageType.TRAIN, PRELUDE)
        return is_first and self.worker.config.model.individual_init

    def _receive(self, received: Payload, config: ConfigRecord, job: str = MessageType.TRAIN) -> None:
        """Check and load what the server sent: the global model, completed by the client's own entries."""
        worker = self.worker
        is_loaded = worker.holds(received[ARRAYS])
        self.received = received if is_loaded else worker.placed(received)
        model, personal = self.received[ARRAYS], self.personal_names()
        if personal or not is_loaded:  # otherwise another client of the stack has checked it
            check_sections(job, self.received, worker.model_state, personal, checked_receives(self))
        self.read_config(config)
        initial = self.initial(personal) if personal else {}
        if self._takes_individual_init(job):
            started = individual_init(worker, self.client_id, {**model, **initial})
            model, is_loaded = {name: started[name] for name in model}, False
            initial = {name: started[name] for name in initial}
            self.received = {**self.received, ARRAYS: model}
        if not is_loaded:
            worker.load(model)
        if own := self.kept_entries or initial:
            worker.load(own)
        if not self.state:
            self.state = checked_init_state(self)
            if self.is_from_outside:  # the model's own tensors would change while it trains
                check_finite(self.state, f"what {type(self).__name__}.init_state returns")
                self.state = {
                    name: {key: value.detach().clone() for key, value in section.items()}
                    for name, section in self.state.items()
                }
