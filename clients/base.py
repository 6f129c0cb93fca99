"""The client half of FedAvg, and the hooks that other methods override."""

import functools
import itertools
import math
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt
import torch
from flwr.app import ConfigRecord

from clients.batches import num_steps
from clients.evaluation_data import client_evaluation_data, evaluate_global_model
from clients.list_interface import ListInterface
from clients.losses import Loss, make_loss
from clients.step_weights import step_weight_norm
from clients.training import (
    Batch,
    allow_batch_statistics,
    full_gradient,
    iterate_training_batches,
    mixed_precision,
    train_locally,
)
from clients.worker import Worker
from common.randomness import Purpose, numpy_generator, torch_generator
from common.records import ARRAYS, FIRST_STEP, LOCAL_STEPS, Section, Sections
from common.schedules import gradual_warmup_steps, learning_rate, step_factor, varies_by_step
from common.sections import LocalSection, Value
from common.stragglers import steps_in_time, work_share
from datasets.noise import NoisyNormalizer, noise_levels
from models.evaluation import evaluate

_KEPT = "kept-entries"

Predictor = Callable[[torch.Tensor], torch.Tensor]


class Client(ListInterface):
    """Local SGD from the global model: FedAvg (McMahan et al. 2017, Algorithm 1, ClientUpdate).

    A method subclasses this in ``clients/<method>.py`` and overrides hooks; its parameters are annotated
    class attributes with a default. Hooks are pure tensor code over name → tensor mappings.

    Parameters
    ----------
    worker : Worker
        Data, model and configuration of this process.
    client_id : int
        The partition id.
    state : Sections
        What the client kept from its earlier rounds; empty at first. Hooks replace entries, they never
        write into the tensors.
    parameters : dict, optional
        The method's parameters, set as attributes.

    Attributes
    ----------
    received : Sections
        What the server sent this round; ``global_params`` is its trainable part.
    num_examples : int
        Number of training samples that the client holds.
    params : Section
        The resident model's trainable tensors, live.
    batch : Batch
        The mini-batch of the current step, in ``correct_gradients``.
    num_steps : int
        Optimiser steps done so far in this round.
    learning_rate : float
        Of this round; of its first step, if it changes within a round; ``mean_rate`` is the mean.
    num_samples : int
        Samples of the mini-batches of the last budget that was spent.
    training_metrics : dict
        What ``clients.training_metrics`` measured in the last budget that was spent.
    is_personal_phase : bool
        Whether the current steps are those of ``train_personal``.
    """

    DEFAULTS: ClassVar[dict[str, Value]] = {}
    """Keys outside ``method`` for which the method has a default of its own, such as ``model.projection``."""

    NEEDS_ONE_RATE: ClassVar[bool] = False
    """Whether the method computes with the learning rate of the round, which must then not change in it."""

    batch: Batch

    def __init__(
        self,
        worker: Worker,
        client_id: int,
        state: Sections | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> None:
        self.worker = worker
        self.client_id = client_id
        self.state: Sections = state if state is not None else {}
        for name, value in (parameters or {}).items():
            setattr(self, name, value)
        self.indices: npt.NDArray[np.int64] = worker.client_indices(client_id)
        self.num_examples = len(self.indices)
        self.params: Section = {k: v for k, v in worker.parameters.items() if v.requires_grad}
        self.received: Sections = {}
        self.server_round = 0
        self.assigned_steps = 0  # of this round, if the server decides them
        self.assigned_first_step = 0  # how many came before
        self.learning_rate = self.mean_rate = worker.config.local.learning_rate
        self.num_steps = 0
        self.num_samples = 0
        self.logits: torch.Tensor | None = None
        self.training_metrics: dict[str, float] = {}
        self.is_personal_phase = False

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

    def init_state(self) -> Sections:
        """Return the state of a client that takes part for the first time."""
        return {}

    def prelude(self) -> Sections:
        """Return what the server asks for before a round (``FedAvg.asks``), at the received model.

        It may replace ``state``.
        """
        return {}

    def begin_round(self) -> None:
        """Prepare the round: the model is loaded, ``received`` and ``state`` are there."""

    def initial_optimizer(self) -> Section:
        """Return what the round's optimiser begins with (``clients.optimizers.optimizer_state``)."""
        return {}

    def trained_names(self) -> Collection[str]:
        """Return the parameters that the next step trains; the others are frozen."""
        return self.params

    def loss(self, params: Section, batch: Batch) -> torch.Tensor:
        """Return the scalar loss of a mini-batch: ``local.loss``, by default cross-entropy."""
        return self._loss(self.forward(params, batch.inputs), batch.targets)

    @functools.cached_property
    def _loss(self) -> Loss:
        return make_loss(self.worker.config.local, self.label_counts)

    def correct_gradients(self, params: Section, grads: Section) -> Section:
        """Return the gradients that the optimiser is to use; ``batch`` is the mini-batch that they are of."""
        return grads

    def after_step(self, params: Section) -> None:
        """Act after an optimiser step."""

    def end_round(self, params: Section) -> Sections:
        """Update ``state`` and return the sections that go to the server beside the model."""
        return {}

    def personal_model(self) -> Section | None:
        """Return the entries in which this client's own model differs from the loaded one, if it has one."""
        return None

    def personal_predictor(self) -> Predictor:
        """Return what predicts for this client, from inputs to logits; its own model is loaded."""
        return self.worker.model

    def personal_predictors(self) -> dict[str, Predictor]:
        """Return what predicts for this client by name; the empty one is ``personal_predictor``."""
        return {"": self.personal_predictor()}

    # What hooks may use.

    def forward(self, params: Section, inputs: torch.Tensor) -> torch.Tensor:
        """Return the logits of the model with `params`; the resident model itself if they are its own."""
        if params is self.params:
            return self.noted(self.worker.model(inputs))
        return torch.func.functional_call(self.worker.model, params, (inputs,))  # type: ignore[no-any-return]

    def noted(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the logits of a step, from which the training accuracy is measured."""
        self.logits = logits.detach()
        return logits

    def gradient_at(self, params: Section, batch: Batch) -> Section:
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

    def mean_gradient(self, num_batches: int) -> Section:
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

    def train_personal(self, start: Section, **budget: int) -> Section:
        """Train another model on the client's data and return its entries; the resident model is kept.

        Hooks can tell by ``is_personal_phase`` that they are called for it.

        Parameters
        ----------
        start : Section
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

    def initial(self, names: Collection[str]) -> Section:
        """Return entries of the run's initial model."""
        return {name: value for name, value in self.worker.initial_state.items() if name in names}

    @property
    def global_params(self) -> Section:
        """The trainable part of the received global model."""
        received = self.received[ARRAYS]
        return {name: received[name] for name in self.params if name in received}

    @property
    def budget(self) -> LocalSection:
        """The local budget of this round, or as much of it as a straggler manages."""
        local = self.worker.config.local
        if local.steps and (local.phases or local.total_steps):
            local = local.model_copy(update={"steps": local.course().steps(self.server_round)})
        if self.assigned_steps:
            local = local.model_copy(update={"epochs": 0, "steps": self.assigned_steps})
        share = work_share(self.worker.config, self.server_round, self.client_id)
        if share == 1:
            return local
        steps = steps_in_time(num_steps(local, self.num_examples), share)
        return local.model_copy(update={"epochs": 0, "steps": steps})

    @property
    def first_step(self) -> int:
        """Local steps of this client before this round, if it was in every round and never late."""
        return self.assigned_first_step if self.assigned_steps else self._steps_before(self.server_round)

    @property
    def total_steps(self) -> int:
        """Local steps of this client in the whole run, if it is in every round and never late."""
        config = self.worker.config
        return config.local.total_steps or self._steps_before(config.rounds + 1)

    def _steps_before(self, server_round: int) -> int:
        local = self.worker.config.local
        if local.steps:
            return local.course().first_step(server_round)
        return (server_round - 1) * num_steps(local, self.num_examples)

    def step_rates(self, count: int) -> list[float]:
        """Return the learning rates of the first `count` local steps of this round."""
        local, num_rounds = self.worker.config.local, self.worker.config.rounds
        rate = learning_rate(local, self.server_round, num_rounds)
        if not varies_by_step(local):
            return [rate] * count
        gradual = gradual_warmup_steps(local, math.ceil(self.num_examples / local.batch_size))
        steps = range(self.first_step, self.first_step + count)
        return [rate * step_factor(local, step, self.total_steps, gradual) for step in steps]

    @property
    def step_rate(self) -> float:
        """Learning rate of the step at hand."""
        rate: float = self.worker.optimizer.param_groups[0]["lr"]
        return rate

    @property
    def step_budget(self) -> int:
        """Number of optimiser steps of this round."""
        return num_steps(self.budget, self.num_examples)

    def generator(self, what: str, purpose: str = "", device: torch.device | str = "cpu") -> torch.Generator:
        """Return the generator of this job for ``shuffle``, ``augment``, ``dropout`` or ``label-noise``."""
        name = cast(Purpose, f"{purpose}-{what}" if purpose else what)
        key = (self.server_round, self.client_id)
        return torch_generator(self.worker.config.seed, name, *key, device=device)

    @property
    def step_weight_norm(self) -> float:
        """||a||_1 of this round's steps: their number, more with momentum, less with a proximal term."""
        local = self.worker.config.local
        momentum = local.momentum if local.optimizer == "sgd" else 0.0
        damping = self.learning_rate * getattr(self, "mu", 0.0)
        return step_weight_norm(self.num_steps, momentum, damping, local.nesterov)

    def gradient_of_steps(self, correction: Section) -> Section:
        """Return (x - y) / (lr ||a||_1) - `correction`: the mean gradient of the round's unclipped SGD steps.

        `correction` is what ``correct_gradients`` added to each of them.
        """
        scale = self.learning_rate * self.step_weight_norm
        start = self.received[ARRAYS]
        return {name: (start[name] - self.params[name]) / scale - correction[name] for name in correction}

    def normalizer(self, purpose: Purpose, server_round: int) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return what turns raw inputs into the model's: with ``dataset.client-noise``, this client's own.

        The noise is that of (`purpose`, `server_round`, client); 0 stands for what is the same in all rounds.
        """
        worker = self.worker
        if worker.config.dataset.client_noise == 0:
            return worker.normalizer
        level = noise_levels(worker.config.dataset.client_noise, worker.config.clients.count)[self.client_id]
        if level == 0:
            return worker.normalizer
        key = (server_round, self.client_id)
        generator = torch_generator(worker.config.seed, purpose, *key, device=worker.device)
        return NoisyNormalizer(worker.normalizer, worker.dataset.std, level[None], generator)

    def full_gradient(self) -> Section:
        """Return the gradient of the mean loss over all local data at the resident model.

        In evaluation mode and without augmentation; weight decay is left to the optimiser.
        """
        return full_gradient(self)

    def label_counts(self) -> torch.Tensor:
        """Count the client's training samples by class."""
        targets = self.worker.dataset.train.targets[torch.from_numpy(self.indices)]
        return torch.bincount(targets[targets >= 0], minlength=self.worker.dataset.num_classes)

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

    def train(self, received: Sections, config: ConfigRecord) -> tuple[Sections, dict[str, int | float]]:
        """Train for one round.

        Parameters
        ----------
        received : Sections
            ``"arrays"``, the global model less ``personal_names``, and what the method's server half adds.
            Not written to.
        config : ConfigRecord
            ``server-round``, from 1.

        Returns
        -------
        tuple[Sections, dict]
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

    def test(self, received: Sections, config: ConfigRecord) -> dict[str, int | float]:
        """Evaluate on the test data of this client (``clients.evaluation_data``).

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
        self, received: Sections, config: ConfigRecord
    ) -> tuple[Sections, dict[str, int | float]]:
        """Return the sections of ``prelude`` and the number of examples; nothing is trained."""
        self._receive(received, config)
        return self.prelude(), {"num-examples": self.num_examples}

    def training_loss(self, received: Sections, config: ConfigRecord) -> dict[str, int | float]:
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

    def _receive(self, received: Sections, config: ConfigRecord) -> None:
        """Take what the server sent, and load the model: the global one with the client's own entries."""
        worker = self.worker
        self.received = {
            section: {name: value.to(worker.device) for name, value in values.items()}
            for section, values in received.items()
        }
        self.server_round = int(config["server-round"])  # type: ignore[arg-type]
        self.assigned_steps = int(config.get(LOCAL_STEPS, 0))  # type: ignore[arg-type]
        self.assigned_first_step = int(config.get(FIRST_STEP, 0))  # type: ignore[arg-type]
        self.learning_rate = self.mean_rate = self.step_rates(1)[0]
        worker.load(self.received[ARRAYS])
        worker.load(self.state.get(_KEPT) or self.initial(self.personal_names()))
        if not self.state:
            self.state = self.init_state()
