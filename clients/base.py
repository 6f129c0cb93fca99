"""The client half of FedAvg, and the hooks that other methods override."""

import functools
import itertools
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, ClassVar

import torch
from flwr.app import ConfigRecord

from clients.local.evaluation import client_evaluation_data, evaluate_global_model
from clients.local.job import Job
from clients.local.losses import Loss, make_loss
from clients.local.numpy_client import ListInterface
from clients.local.training import (
    Batch,
    allow_batch_statistics,
    full_gradient,
    iterate_training_batches,
    mixed_precision,
    train_locally,
)
from common.randomness import numpy_generator
from common.records import ARRAYS, Payload, Tensors
from common.sections import Value
from models.measures.evaluation import evaluate

_KEPT = "kept-entries"

Predictor = Callable[[torch.Tensor], torch.Tensor]


class Client(Job, ListInterface):
    """Local SGD from the global model: FedAvg (McMahan et al. 2017, Algorithm 1, ClientUpdate).

    A method subclasses this in ``clients/<method>.py`` and overrides hooks; its parameters are annotated
    class attributes with a default. Hooks are pure tensor code over name → tensor mappings, and use what
    ``clients.local.job`` tells of the job at hand.

    Attributes
    ----------
    batch : Batch
        The mini-batch of the current step, in ``correct_gradients``.
    """

    DEFAULTS: ClassVar[dict[str, Value]] = {}
    """Keys outside ``method`` for which the method has a default of its own, such as ``model.projection``."""

    NEEDS_ONE_RATE: ClassVar[bool] = False
    """Whether the method computes with the learning rate of the round, which must then not change in it."""

    batch: Batch

    # Hooks, in the order in which a run and its rounds call them.

    def validate(self) -> None:
        """Raise a `UserError` if the method cannot work with this configuration; before any training."""

    def assumes_sgd(self) -> bool:
        """Tell whether the method's formulas hold for unclipped SGD only, as ``gradient_of_steps`` does."""
        return False

    def personal_names(self) -> Collection[str]:
        """Return the entries of the model that the client keeps for itself: they are never sent.

        A new client starts with those of the initial model.
        """
        return ()

    def init_state(self) -> Payload:
        """Return the state of a client that takes part for the first time."""
        return {}

    def prelude(self) -> Payload:
        """Return what the server asks for before a round (``FedAvg.asks``), at the received model.

        It may replace ``state``.
        """
        return {}

    def begin_round(self) -> None:
        """Prepare the round: the model is loaded, ``received`` and ``state`` are there."""

    def initial_optimizer(self) -> Tensors:
        """Return what the round's optimiser begins with (``clients.local.optimizers.optimizer_state``)."""
        return {}

    def trained_names(self) -> Collection[str]:
        """Return the parameters that the next step trains; the others are frozen."""
        return self.params

    def loss(self, params: Tensors, batch: Batch) -> torch.Tensor:
        """Return the scalar loss of a mini-batch: ``loss.name``, by default cross-entropy."""
        return self._loss(self.forward(params, batch.inputs), batch.targets)

    @functools.cached_property
    def _loss(self) -> Loss:
        return make_loss(self.worker.config.loss, self.label_counts)

    def correct_gradients(self, params: Tensors, grads: Tensors) -> Tensors:
        """Return the gradients that the optimiser is to use; ``batch`` is the mini-batch that they are of."""
        return grads

    def after_step(self, params: Tensors) -> None:
        """Act after an optimiser step."""

    def end_round(self, params: Tensors) -> Payload:
        """Update ``state`` and return the sections that go to the server beside the model."""
        return {}

    def personal_model(self) -> Tensors | None:
        """Return the entries in which this client's own model differs from the loaded one, if it has one."""
        return None

    def personal_predictor(self) -> Predictor:
        """Return what predicts for this client, from inputs to logits; its own model is loaded."""
        return self.worker.model

    def personal_predictors(self) -> dict[str, Predictor]:
        """Return what predicts for this client by name; the empty one is ``personal_predictor``."""
        return {"": self.personal_predictor()}

    # What hooks may use.

    def forward(self, params: Tensors, inputs: torch.Tensor) -> torch.Tensor:
        """Return the logits of the model with `params`; the resident model itself if they are its own."""
        if params is self.params:
            return self.noted(self.worker.model(inputs))
        return torch.func.functional_call(self.worker.model, params, (inputs,))  # type: ignore[no-any-return]

    def noted(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the logits of a step, from which the training accuracy is measured."""
        self.logits = logits.detach()
        return logits

    def gradient_at(self, params: Tensors, batch: Batch) -> Tensors:
        """Return the gradient of the loss of `batch` at `params`, which are left as they are.

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
        return dict(zip(leaves, grads, strict=True))

    def mean_gradient(self, num_batches: int) -> Tensors:
        """Return the mean gradient of fresh mini-batches at the resident model; weight decay is left out."""
        self.worker.model.train()
        dropout = self.generator("dropout", "extra", self.worker.device)
        for layer in self.worker.dropout_layers:
            layer.generator = dropout
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

        Hooks can tell by ``is_personal_phase`` that they are called for it.

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

    @classmethod
    def defaults(cls, parameters: Mapping[str, Any]) -> Mapping[str, Value]:
        """Return ``DEFAULTS``, or others that depend on the method's own parameters."""
        return cls.DEFAULTS

    def keeps_state(self) -> bool:
        """Tell whether the client may carry anything from round to round."""
        return self.overrides("init_state") or self.overrides("end_round") or bool(self._kept_names)

    def is_personalised(self) -> bool:
        """Tell whether the client predicts by other means than the global model."""
        return any(map(self.overrides, ("personal_names", "personal_model", "personal_predictor")))

    def overrides(self, hook: str) -> bool:
        """Tell whether the method has a hook of its own."""
        return getattr(type(self), hook) is not getattr(Client, hook)

    # One round.

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
        self._receive(received, config)
        self.begin_round()
        self.num_steps, loss = train_locally(self)
        measured = self.training_metrics
        with torch.no_grad():
            extra = self.end_round(self.params)
        if self._kept_names:
            self.state[_KEPT] = {name: self.worker.state[name].detach().clone() for name in self._kept_names}
        metrics: dict[str, int | float] = {
            "num-examples": self.num_examples,
            "num-steps": self.num_steps,
            "num-samples": self.num_samples,
            "learning-rate": self.mean_rate,
            "train_loss": loss,
            **measured,
            "seconds": time.perf_counter() - started,
        }
        personal = self.personal_names()
        shared = {name: value for name, value in self.worker.state.items() if name not in personal}
        return {ARRAYS: shared, **extra}, metrics

    def test(self, received: Payload, config: ConfigRecord) -> dict[str, int | float]:
        """Evaluate on the test data of this client (``clients.local.evaluation``).

        Returns
        -------
        dict
            ``loss`` and ``accuracy`` of the global model, unless parts of it are personal;
            ``personal_loss`` and ``personal_accuracy`` of the client's own, if the method has one, and
            ``personal_<name>_accuracy`` of its further ``personal_predictors``. Neither of a client that has
            no test data. Of long-tailed data also what ``ClassReport`` tells.
        """
        self._receive(received, config)
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

    def answer_prelude(
        self, received: Payload, config: ConfigRecord
    ) -> tuple[Payload, dict[str, int | float]]:
        """Return the sections of ``prelude`` and the number of examples; nothing is trained."""
        self._receive(received, config)
        return self.prelude(), {"num-examples": self.num_examples}

    def training_loss(self, received: Payload, config: ConfigRecord) -> dict[str, int | float]:
        """Return the mean cross-entropy of the global model on the client's training data.

        In evaluation mode and without augmentation; with ``one-batch`` in `config`, on one mini-batch.
        """
        self._receive(received, config)
        worker, indices = self.worker, self.indices
        if config["one-batch"]:
            generator = numpy_generator(worker.config.seed, "measurement", self.server_round, self.client_id)
            indices = generator.permutation(indices)[: worker.config.local.batch_size]
        samples = torch.from_numpy(indices).to(worker.device)
        sums = evaluate(
            worker.model,
            worker.train.inputs.index_select(0, samples),
            worker.train.targets[samples],
            self.normalizer("measurement", self.server_round),
            worker.dataset.num_classes,
            worker.config.evaluate.batch_size,
        )
        return {"num-examples": self.num_examples, "loss": sums.mean()[0]}

    @functools.cached_property
    def _kept_names(self) -> list[str]:
        """Entries of the model that the client keeps: personal ones, and BatchNorm's if they are local."""
        is_local = self.worker.config.batch_norm.policy == "local"
        kept = {*self.personal_names(), *(self.worker.buffers if is_local else ())}
        return [name for name in self.worker.state if name in kept]

    def _receive(self, received: Payload, config: ConfigRecord) -> None:
        """Take what the server sent, and load the model: the global one with the client's own entries."""
        worker = self.worker
        self.received = {
            section: {name: value.to(worker.device) for name, value in values.items()}
            for section, values in received.items()
        }
        self.begin(config)
        worker.load(self.received[ARRAYS])
        worker.load(self.state.get(_KEPT) or self.initial(self.personal_names()))
        if not self.state:
            self.state = self.init_state()
