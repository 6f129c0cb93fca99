"""The client half of FedAvg, and the hooks that other methods override."""

import time
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from flwr.app import ConfigRecord
from flwr.client import NumPyClient
from torch.nn import functional as F

from clients.schedules import learning_rate
from clients.step_weights import step_weight_norm
from clients.training import Batch, full_gradient, train_locally
from clients.worker import Worker
from common.randomness import torch_generator
from common.records import ARRAYS, Section, Sections
from models.evaluation import evaluate

_BATCH_NORM = "batch-norm"


class Client(NumPyClient):
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
    params : Section
        The resident model's trainable tensors, live.
    num_steps : int
        Optimiser steps done this round, once training has ended.
    learning_rate : float
        Of this round.
    """

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
        self.params: Section = {k: v for k, v in worker.parameters.items() if v.requires_grad}
        self.received: Sections = {}
        self.server_round = 0
        self.learning_rate = worker.config.local.learning_rate
        self.num_steps = 0

    # Hooks, in the order in which a round calls them.

    def init_state(self) -> Sections:
        """Return the state of a client that takes part for the first time."""
        return {}

    def begin_round(self) -> None:
        """Prepare the round: the global model is loaded, ``received`` and ``state`` are there."""

    def loss(self, params: Section, batch: Batch) -> torch.Tensor:
        """Return the scalar loss of a mini-batch: cross-entropy."""
        return F.cross_entropy(self.forward(params, batch.inputs), batch.targets)

    def correct_gradients(self, params: Section, grads: Section) -> Section:
        """Return the gradients that the optimiser is to use."""
        return grads

    def after_step(self, params: Section) -> None:
        """Act after an optimiser step."""

    def end_round(self, params: Section) -> Sections:
        """Update ``state`` and return the sections that go to the server beside the model."""
        return {}

    def personal_model(self) -> Section | None:
        """Return the entries in which this client's own model differs from the global one, if it has one."""
        return None

    # What hooks may use.

    def forward(self, params: Section, inputs: torch.Tensor) -> torch.Tensor:
        """Return the logits of the model with `params`; the resident model itself if they are its own."""
        if params is self.params:
            return self.worker.model(inputs)  # type: ignore[no-any-return]
        return torch.func.functional_call(self.worker.model, params, (inputs,))  # type: ignore[no-any-return]

    @property
    def global_params(self) -> Section:
        """The trainable part of the received global model."""
        return {name: self.received[ARRAYS][name] for name in self.params}

    @property
    def num_examples(self) -> int:
        """Number of training samples that the client holds."""
        return len(self.indices)

    @property
    def dropout_generator(self) -> torch.Generator:
        """The generator of this job's dropout masks."""
        key = (self.server_round, self.client_id)
        return torch_generator(self.worker.config.seed, "dropout", *key, device=self.worker.device)

    @property
    def step_weight_norm(self) -> float:
        """||a||_1 of this round's steps: their number, more with momentum, less with a proximal term."""
        local = self.worker.config.local
        momentum = local.momentum if local.optimizer == "sgd" else 0.0
        return step_weight_norm(self.num_steps, momentum, self.learning_rate * getattr(self, "mu", 0.0))

    def full_gradient(self) -> Section:
        """Return the gradient of the mean loss over all local data at the received model.

        In evaluation mode and without augmentation; weight decay is left to the optimiser.
        """
        return full_gradient(self)

    def label_counts(self) -> torch.Tensor:
        """Count the client's training samples by class."""
        targets = self.worker.dataset.train.targets[torch.from_numpy(self.indices)]
        return torch.bincount(targets[targets >= 0], minlength=self.worker.dataset.num_classes)

    def keeps_state(self) -> bool:
        """Tell whether the client may carry anything from round to round."""
        return self.overrides("init_state") or self.overrides("end_round") or self._keeps_batch_norm

    def overrides(self, hook: str) -> bool:
        """Tell whether the method has a hook of its own."""
        return getattr(type(self), hook) is not getattr(Client, hook)

    # One round.

    def train(self, received: Sections, config: ConfigRecord) -> tuple[Sections, dict[str, int | float]]:
        """Train for one round.

        Parameters
        ----------
        received : Sections
            ``"arrays"``, the global model, and what the method's server half adds. Not written to.
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
        if not self.state:
            self.state = self.init_state()
        self._load_batch_norm()
        self.begin_round()
        self.num_steps, loss = train_locally(self)
        with torch.no_grad():
            extra = self.end_round(self.params)
        if self._keeps_batch_norm:
            self.state[_BATCH_NORM] = {name: value.clone() for name, value in self.worker.buffers.items()}
        metrics: dict[str, int | float] = {
            "num-examples": self.num_examples,
            "num-steps": self.num_steps,
            "train_loss": loss,
            "seconds": time.perf_counter() - started,
        }
        return {ARRAYS: self.worker.state, **extra}, metrics

    def test(self, received: Sections, config: ConfigRecord) -> dict[str, int | float]:
        """Evaluate on the test samples of the client's classes, weighted by its training label frequencies.

        A natural client has test samples of its own: these. With a label per position, the whole test set.
        The model is the client's personal one if the method has it, else the global one.
        """
        self._receive(received, config)
        self._load_batch_norm()
        self.worker.load(self.personal_model() or {})
        worker, dataset = self.worker, self.worker.dataset
        counts = self._test_weights()
        held: torch.Tensor | slice = slice(None)
        if worker.config.partition.name == "natural":
            assert dataset.test.clients is not None
            held = dataset.test.clients == self.client_id
        elif counts is not None:
            held = torch.isin(dataset.test.targets, counts.nonzero().flatten())
        sums = evaluate(
            worker.model,
            dataset.test.inputs[held],
            dataset.test.targets[held],
            worker.normalizer,
            dataset.num_classes,
            worker.config.evaluate.batch_size,
        )
        loss, accuracy = sums.mean(counts)
        return {"num-examples": self.num_examples, "loss": loss, "accuracy": accuracy}

    def _test_weights(self) -> torch.Tensor | None:
        """Return how much each class of the test set counts; None weighs all targets alike."""
        is_natural = self.worker.config.partition.name == "natural"
        return None if is_natural or self.worker.dataset.target_shape else self.label_counts()

    @property
    def _keeps_batch_norm(self) -> bool:
        return self.worker.config.batch_norm.policy == "local" and bool(self.worker.buffers)

    def _load_batch_norm(self) -> None:
        """Put the client's own running statistics in place of the received ones."""
        if self._keeps_batch_norm and _BATCH_NORM in self.state:
            self.worker.load(self.state[_BATCH_NORM])

    def _receive(self, received: Sections, config: ConfigRecord) -> None:
        worker = self.worker
        self.received = {
            section: {name: value.to(worker.device) for name, value in values.items()}
            for section, values in received.items()
        }
        self.server_round = int(config["server-round"])  # type: ignore[arg-type]
        self.learning_rate = learning_rate(worker.config.local, self.server_round, worker.config.rounds)
        worker.load(self.received[ARRAYS])

    # Flower's NumPyClient interface: the same round with the model as a list, in the order of the state.

    def get_parameters(self, config: dict[str, Any]) -> list[npt.NDArray[Any]]:
        """Return the resident model as a list of arrays."""
        return [value.detach().cpu().numpy().copy() for value in self.worker.state.values()]

    def fit(
        self, parameters: list[npt.NDArray[Any]], config: dict[str, Any]
    ) -> tuple[list[npt.NDArray[Any]], int, dict[str, Any]]:
        """Train for one round on a model given as a list of arrays."""
        _, metrics = self.train(self._named(parameters), ConfigRecord(config))
        return self.get_parameters(config), self.num_examples, dict(metrics)

    def evaluate(
        self, parameters: list[npt.NDArray[Any]], config: dict[str, Any]
    ) -> tuple[float, int, dict[str, Any]]:
        """Evaluate a model given as a list of arrays."""
        metrics = self.test(self._named(parameters), ConfigRecord(config))
        return float(metrics["loss"]), self.num_examples, dict(metrics)

    def _named(self, parameters: list[npt.NDArray[Any]]) -> Sections:
        names = self.worker.state
        return {ARRAYS: dict(zip(names, map(torch.from_numpy, parameters), strict=True))}
