"""The client half of FedAvg: what hooks may use, and one round."""

import fnmatch
import functools
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, TypeVar

import torch
from flwr.app import Array, ConfigRecord, MessageType

from clients.hooks import Hooks
from clients.local.attacks import Attack, attack_of
from clients.local.batches import Batch
from clients.local.evaluation import client_evaluation_data, evaluate_global_model
from clients.local.incoming import RefusedMessageError, check_form, check_sections
from clients.local.numpy_client import ListInterface
from clients.local.own_start import own_start
from clients.local.training import (
    allow_batch_statistics,
    full_gradient,
    iterate_training_batches,
    mixed_precision,
    seed_steps,
    train_locally,
)
from common.errors import UserError, shown
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
from common.returned import check_returned, check_returned_tensors
from models.measures.evaluation import evaluate
from models.measures.numbers import evaluate_numbers

_KEPT = "kept-entries"
Result = TypeVar("Result")


class Outcome(NamedTuple):
    """What a client has come to by the steps of its round.

    Attributes
    ----------
    loss : float
        Mean over the samples of the steps.
    started : float
        When the round began, by ``time.perf_counter``.
    state : Tensors
        The model's parameters and buffers.
    arrays : Mapping[int, Array]
        These tensors as they are sent, by their identity, if they have been serialised.
    """

    loss: float
    started: float
    state: Tensors
    arrays: Mapping[int, Array] = NOT_MADE


def _seeded(
    job: Callable[["Client", Payload, ConfigRecord], Result],
) -> Callable[["Client", Payload, ConfigRecord], Result]:
    """Let a job draw from global generators that are seeded for this client in this round."""

    @functools.wraps(job)
    def run(client: "Client", received: Payload, config: ConfigRecord) -> Result:
        worker, server_round = client.worker, int(config[SERVER_ROUND])  # type: ignore[arg-type]
        if not worker.runs_outside_code:
            return job(client, received, config)
        seed = torch_seed(worker.config.seed, "job", server_round, client.client_id)
        with seeded_globally(seed, worker.device, worker.own_generators):
            return job(client, received, config)

    return run


class Client(Hooks, ListInterface):
    """Local SGD from the global model: FedAvg (McMahan et al. 2017, Algorithm 1, ClientUpdate).

    A method subclasses this in ``clients/<method>.py`` and overrides hooks (``clients/hooks.py``); its
    parameters are annotated class attributes with a default.
    """

    # What hooks may use, in addition to ``forward`` and what ``clients.local.job`` knows of the job.

    def gradient_at(self, params: Tensors, batch: Batch) -> Tensors:
        """Return the gradient of ``loss_and_gradient``."""
        return self.loss_and_gradient(params, batch)[1]

    def loss_and_gradient(self, params: Tensors, batch: Batch) -> tuple[torch.Tensor, Tensors]:
        """Return the loss of `batch` and its gradient at `params`, which are left as they are.

        So are BatchNorm's running statistics: those of other weights are not the model's.
        """
        worker = self.worker
        statistics = {name: value.clone() for name, value in worker.buffers.items()}
        if worker.model.training:
            allow_batch_statistics(worker.batch_norm_layers, batch)
        with torch.enable_grad():
            leaves = {name: value.detach().requires_grad_() for name, value in params.items()}
            with mixed_precision(worker.device, worker.config.local):
                loss = self.loss(leaves, batch)
            grads = torch.autograd.grad(loss, list(leaves.values()))
        worker.load(statistics)
        return loss.detach(), dict(zip(leaves, grads, strict=True))

    def mean_gradient(self, num_batches: int) -> Tensors:
        """Return the mean gradient of fresh mini-batches at the resident model; weight decay is left out."""
        self.worker.model.train()
        seed_steps(self, "extra")
        gradients = [
            self.gradient_at(self.params, batch)
            for batch in itertools.islice(self.extra_batches(), num_batches)
        ]
        return {name: torch.stack([g[name] for g in gradients]).mean(dim=0) for name in gradients[0]}

    def extra_batches(self) -> Iterator[Batch]:
        """Yield mini-batches without end, independent of those of the round's steps."""
        endless = self.worker.config.local.model_copy(update={"epochs": 0, "steps": sys.maxsize})
        return iterate_training_batches(self, "extra", endless)

    def train_personal(self, start: Tensors, **budget: int) -> Tensors:
        """Train another model on the client's data and return its entries; the resident model is kept.

        Hooks know by ``is_personal_phase`` that they are called for it.

        Parameters
        ----------
        start : Tensors
            The entries in which it differs from the resident model: those that come back.
        **budget : int
            ``steps`` or ``epochs`` (whichever is above 0), by default the round's budget.
        """
        worker = self.worker
        kept = {name: value.detach().clone() for name, value in worker.state.items()}
        local = self.budget
        if any(budget.values()):
            local = local.model_copy(update={"steps": 0, "epochs": 0, **budget})
        num_steps, self.is_personal_phase = self.num_steps, True
        try:
            worker.load(start)
            with torch.enable_grad():
                train_locally(self, "personal", local)
            return {name: worker.state[name].detach().clone() for name in start}
        finally:
            worker.load(kept)
            self.num_steps, self.is_personal_phase = num_steps, False

    def full_gradient(self) -> Tensors:
        """Return the gradient of the mean loss over all local data at the resident model.

        In evaluation mode and without augmentation; weight decay is left to the optimiser.
        """
        return full_gradient(self)

    def keeps_state(self) -> bool:
        """Return whether the client carries anything from round to round."""
        return bool(self.keeps()) or bool(self._kept_names)

    def undeclared_state(self) -> set[str]:
        """Return the sections of ``state`` that the method does not say that it keeps."""
        if not self.state:
            return set()
        declared = [_KEPT, *self.keeps()]
        return {name for name in self.state if not any(fnmatch.fnmatchcase(name, kept) for kept in declared)}

    def check_state(self, state: Payload) -> None:
        """Check that what is to be this client's state has the form of what such a client keeps.

        Raises
        ------
        RefusedMessageError
            If a section is unknown, or an array of one whose form is known is missing, unknown, or of another
            shape or dtype.
        """
        self.state = state
        if undeclared := self.undeclared_state():
            raise RefusedMessageError(
                f"the message has the state {shown(min(undeclared))}, which no client keeps"
            )
        own = {_KEPT: {name: self.worker.state[name] for name in self._kept_names}}
        for kept, form in (self.kept_form() | own).items():
            for name in fnmatch.filter(state, kept):
                check_form(name, state[name], form)

    def is_personalised(self) -> bool:
        """Return whether the client predicts by other means than the global model."""
        return any(map(self.overrides, ("personal_names", "personal_model", "personal_predictor")))

    # One round.

    @_seeded
    def train(self, received: Payload, config: ConfigRecord) -> tuple[Payload, dict[str, int | float]]:
        """Train for one round.

        Parameters
        ----------
        received : Payload
            ``"arrays"``, the global model less ``personal_names``, and what the method's server half adds.
            Not written to.
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
        return self.conclude(Outcome(loss, started, self.worker.state))

    def prepare(self, received: Payload, config: ConfigRecord) -> None:
        """Do what of a round comes before its steps; parameters as of ``train``."""
        self._receive(received, config)
        self._versions = _versions(self.received) if self._is_foreign else {}
        self.begin_round()
        if self.overrides("begin_round"):
            self.worker.has_trained()

    def conclude(self, outcome: Outcome) -> tuple[Payload, dict[str, int | float]]:
        """Do what of a round comes after its steps, and return what ``train`` does."""
        measured, num_samples = self.training_metrics, self.num_samples  # `end_round` may train again
        extra: Payload = {}
        if self.overrides("end_round"):  # entering no_grad costs more than the hook that does nothing
            with torch.no_grad():
                extra = self.end_round(self.params)
            check_returned(extra, f"what {type(self).__name__}.end_round returns")
            if ARRAYS in extra:
                raise UserError(
                    f"{type(self).__name__}.end_round returns the section '{ARRAYS}', which is the model:"
                    " give it another name"
                )
        if self._is_foreign:
            self._check_unwritten()
        if self._kept_names:
            self.state[_KEPT] = {name: outcome.state[name].detach().clone() for name in self._kept_names}
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
        personal = self.personal_names()
        shared = {name: value for name, value in outcome.state.items() if name not in personal}
        if attack := attack_of(self.worker.config, self.client_id):
            shared |= self._attacked(attack, shared)
        return {ARRAYS: shared, **extra}, metrics

    @torch.no_grad()
    def _attacked(self, attack: Attack, shared: Tensors) -> Tensors:
        """Return what an attacker sends for the trained entries."""
        trained = {name: value.detach() for name, value in shared.items() if name in self.params}
        key = (self.server_round, self.client_id)
        generator = torch_generator(self.worker.config.seed, "attack-update", *key, device=self.worker.device)
        start = {name: self.global_params[name] for name in trained}
        sent = attack.model(trained, start, generator)
        what = f"what {type(attack).__name__}.model returns"
        check_returned_tensors(sent, what)
        if missing := next((name for name in trained if name not in sent), ""):
            raise UserError(f"{what} lacks '{missing}', which would be sent as it was trained")
        return sent

    @_seeded
    def test(self, received: Payload, config: ConfigRecord) -> dict[str, int | float]:
        """Evaluate on the test data of this client (``clients.local.evaluation``).

        Returns
        -------
        dict
            ``loss`` and ``accuracy`` of the global model, unless parts of it are personal;
            ``personal_loss`` and ``personal_accuracy`` of the client's own, if the method has one, and
            ``personal_<name>_accuracy`` of its further ``personal_predictors``. Neither of a client that has
            no test data. Of long-tailed data also what ``ClassReport`` reports.
        """
        self._receive(received, config, MessageType.EVALUATE)
        data = client_evaluation_data(self)
        metrics: dict[str, int | float] = {"num-examples": self.num_examples}
        if not len(data.targets):
            return metrics
        if not self.personal_names():
            metrics |= evaluate_global_model(self, received[ARRAYS])
        if self.is_personalised():
            self.worker.load(self.personal_model() or {})
            for name, predictor in self.personal_predictors().items():
                metrics |= data.measure(predictor, f"personal_{name}_" if name else "personal_")
        return metrics

    @_seeded
    def own_model(self, received: Payload, config: ConfigRecord) -> Tensors:
        """Return the model by which this client predicts in ``test``, the live tensors of the resident one.

        Raises
        ------
        UserError
            If it predicts with the global model, or by more than one model.
        """
        self._receive(received, config, PERSONAL_MODEL)
        name = self.worker.config.method.name
        if self.overrides("personal_predictor"):
            raise UserError(
                f"the clients of a run of '{name}' do not predict by a model alone, so that there is none to"
                " take out: leave --client out for the global model"
            )
        if not (self.is_personalised() or self._kept_names or self.IS_SENT_ITS_OWN):
            raise UserError(
                f"the clients of a run of '{name}' have no models of their own: leave --client out for the"
                " global model"
            )
        self.worker.load(self.personal_model() or {})
        return self.worker.state

    @_seeded
    def answer_prelude(
        self, received: Payload, config: ConfigRecord
    ) -> tuple[Payload, dict[str, int | float]]:
        """Return the sections of ``prelude`` and the number of examples; nothing is trained."""
        self._receive(received, config, PRELUDE)
        return self.prelude(), {"num-examples": self.num_examples}

    @_seeded
    def training_loss(self, received: Payload, config: ConfigRecord) -> dict[str, int | float]:
        """Return the mean cross-entropy, or squared error, of the global model on the client's training data.

        In evaluation mode and without augmentation; with ``one-batch`` in `config`, on one mini-batch.
        """
        self._receive(received, config, LOSS_QUERY)
        worker, indices = self.worker, self.indices
        if config[ONE_BATCH]:
            generator = numpy_generator(worker.config.seed, "measurement", self.server_round, self.client_id)
            indices = generator.permutation(indices)[: worker.config.local.batch_size]
        samples = torch.from_numpy(indices).to(worker.device)
        given = worker.train.inputs.index_select(0, samples), worker.train.targets[samples]
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

    @property
    def _is_foreign(self) -> bool:
        return type(self).__module__.partition(".")[0] != "clients"

    def _check_unwritten(self) -> None:
        """Refuse what a hook of somebody's own has written into what all clients of this process are sent."""
        after = _versions(self.received)
        if written := next(
            (place for place, was in self._versions.items() if after.get(place, was) != was), ()
        ):
            section, name = written
            raise UserError(
                f"{type(self).__name__} has written into '{name}' of received['{section}'], which the other"
                " clients are sent as well: make a new tensor, or a copy with clone()"
            )

    @functools.cached_property
    def _kept_names(self) -> list[str]:
        """Entries of the model that the client keeps: personal ones, and BatchNorm's if they are local."""
        is_local = self.worker.config.batch_norm.policy == "local"
        kept = {*self.personal_names(), *(self.worker.buffers if is_local else ())}
        return [name for name in self.worker.state if name in kept] if kept else []

    def _begins_alone(self, job: str) -> bool:
        """Return whether the job begins from the client's own initial weights."""
        is_first = self.server_round == 1 and job in (MessageType.TRAIN, PRELUDE)
        return is_first and self.worker.config.model.individual_init

    def _receive(self, received: Payload, config: ConfigRecord, job: str = MessageType.TRAIN) -> None:
        """Take what the server sent, and load the model: the global one with the client's own entries."""
        worker = self.worker
        is_loaded = worker.holds(received[ARRAYS])
        self.received = received if is_loaded else worker.placed(received)
        model, personal = self.received[ARRAYS], self.personal_names()
        if personal or not is_loaded:  # else it is what another client of the stack has checked
            check_sections(job, self.received, worker.state, personal, self.receives())
        self.begin(config)
        initial = self.initial(personal) if personal else {}
        if self._begins_alone(job):
            started = own_start(worker, self.client_id, {**model, **initial})
            model, is_loaded = {name: started[name] for name in model}, False
            initial = {name: started[name] for name in initial}
            self.received = {**self.received, ARRAYS: model}
        if not is_loaded:
            worker.load(model)
        if own := self.state.get(_KEPT) or initial:
            worker.load(own)
        if not self.state:
            self.state = self.initial_state()


def _versions(sections: Payload) -> dict[tuple[str, str], int]:
    """Return how often each tensor was written to, as torch counts it."""
    return {
        (section, name): value._version
        for section, values in sections.items()
        for name, value in values.items()
        if not value.is_inference()
    }
