"""What a client knows about its job: data, round, budget, learning rates and random numbers."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from flwr.app import ConfigRecord

from clients.local.attacks import attack_of
from clients.local.optimizers import optimizer_parameters
from clients.local.step_weights import step_weight_norm
from clients.local.worker import Worker
from common.budget import num_steps, round_budget
from common.errors import UserError
from common.flower import entries
from common.randomness import Purpose, torch_generator, torch_seeds
from common.rates import base_rate, gradual_warmup_steps, step_factors
from common.records import ARRAYS, FIRST_STEP, LOCAL_STEPS, SERVER_ROUND, Payload, Tensors
from common.returned import check_number
from common.sections import LocalSection
from datasets.noise.client_noise import NoisyNormalizer, noise_levels
from datasets.noise.label_noise import corrupt_labels, expected_counts


class Job:
    """One client in one round, as its hooks and the training loop see it.

    Parameters
    ----------
    worker : Worker
        Data, model and configuration of this process.
    client_id : int
        The partition id.
    state : Payload
        What the client kept from its earlier rounds; empty at first. Hooks may replace or delete entries,
        but never write into the tensors.
    parameters : Mapping, optional
        The method's parameters, set as attributes.

    Attributes
    ----------
    sections_before : frozenset of str
        The sections of ``state`` before the job.
    received : Payload
        What the server sent this round; ``global_params`` is its trainable part.
    num_examples : int
        Number of training samples that the client holds.
    params : Tensors
        The resident model's trainable tensors, live.
    num_steps : int
        Optimiser steps done so far in this round.
    learning_rate : float
        The round's learning rate; that of its first step if it changes within the round, where
        ``mean_rate`` is the mean.
    num_samples : int
        Samples processed by the most recent local training (``train_locally``).
    training_metrics : dict
        What ``clients.local.metrics`` measured in the most recent local training.
    is_personal_phase : bool
        Whether the current steps are those of ``train_personal``.
    """

    def __init__(
        self,
        worker: Worker,
        client_id: int,
        state: Payload | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        for name, value in (parameters or {}).items():
            setattr(self, name, value)
        self.worker = worker
        self.client_id = client_id
        self.state: Payload = state if state is not None else {}
        self.sections_before = frozenset(self.state)
        self.indices: npt.NDArray[np.int64] = worker.client_indices(client_id)
        self.num_examples = len(self.indices)
        self.params: Tensors = {k: v for k, v in worker.parameters.items() if v.requires_grad}
        self.received: Payload = {}
        self.server_round = 0
        self.assigned_steps = 0  # of this round, if the server decides them
        self.assigned_first_step = 0  # how many came before
        self.learning_rate = self.mean_rate = base_rate(worker.config)
        self.num_steps = 0
        self.num_samples = 0
        # Local steps before the loss was no longer finite, if it was not.
        self.finite_steps: int | None = None
        self.logits: torch.Tensor | None = None
        self.training_metrics: dict[str, float] = {}
        self.is_personal_phase = False

    def read_config(self, config: ConfigRecord) -> None:
        """Read the round, and what the server has decided for it, from a message's config."""
        values = entries(config)
        self.server_round = int(values[SERVER_ROUND])
        self.assigned_steps = int(values.get(LOCAL_STEPS, 0))
        self.assigned_first_step = int(values.get(FIRST_STEP, 0))
        self.learning_rate = self.mean_rate = self.step_rates(1)[0]

    def initial(self, names: Collection[str]) -> Tensors:
        """Return entries of the run's initial model."""
        return {name: value for name, value in self.worker.initial_model.items() if name in names}

    @property
    def global_params(self) -> Tensors:
        """The trainable part of the received global model.

        Raises
        ------
        UserError
            If nothing has been received: a node is asked for its form before its first job.
        """
        if ARRAYS not in self.received:
            raise UserError(
                f"{type(self).__name__} asks for global_params before anything is received, as in init_state,"
                " receives or personal_names: take self.params there, which in a job are the received model's"
            )
        received = self.received[ARRAYS]
        return {name: received[name] for name in self.params if name in received}

    @property
    def budget(self) -> LocalSection:
        """The local budget of this round, or as much of it as a straggler manages."""
        return round_budget(
            self.worker.config, self.server_round, self.client_id, self.num_examples, self.assigned_steps
        )

    @property
    def first_step(self) -> int:
        """Local steps before this round of a client that takes part in every round and never straggles."""
        return self.assigned_first_step if self.assigned_steps else self._steps_before(self.server_round)

    @property
    def total_steps(self) -> int:
        """Local steps in the whole run of a client that takes part in every round and never straggles."""
        config = self.worker.config
        return config.local.total_steps or self._steps_before(config.rounds + 1)

    def _steps_before(self, server_round: int) -> int:
        local = self.worker.config.local
        if local.steps:
            return local.step_plan().first_step(server_round)
        return (server_round - 1) * num_steps(local, self.num_examples)

    def step_rates(self, count: int) -> list[float]:
        """Return the learning rates of the first `count` local steps of this round."""
        config = self.worker.config
        rate = self.worker.learning_rate(self.server_round)
        if not self.worker.varies_by_step:
            return [rate] * count
        gradual = gradual_warmup_steps(config, config.local.steps_per_pass(self.num_examples))
        steps = range(self.first_step, self.first_step + count)
        return [rate * factor for factor in step_factors(config, steps, self.total_steps, gradual)]

    @property
    def step_rate(self) -> float:
        """Learning rate of the current step."""
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

    @classmethod
    def generators(
        cls, jobs: Sequence["Job"], what: str, device: torch.device | str = "cpu"
    ) -> list[torch.Generator]:
        """Return the ``generator`` of several jobs of one round; their seeds are derived in one go."""
        first = jobs[0]
        ids = [job.client_id for job in jobs]
        seeds = torch_seeds(first.worker.config.seed, cast(Purpose, what), first.server_round, ids)
        return [torch.Generator(device=device).manual_seed(seed) for seed in seeds]

    @property
    def proximal_weight(self) -> float:
        """A hook: mu, if the method adds mu (w - x) to every gradient; ``step_weight_norm`` uses it."""
        return 0.0

    @property
    def is_first_loss_lost(self) -> bool:
        """Whether the loss was not finite in the first local step of the run, before any of the model."""
        return self.finite_steps == 0 and self.server_round == 1

    @property
    def step_weight_norm(self) -> float:
        """||a||_1 of this round's steps: their number, more with momentum, less with a proximal term."""
        optimizer = self.worker.config.optimizer
        given = optimizer_parameters(optimizer) if optimizer.name == "sgd" else {}
        momentum = given.get("momentum", 0.0)
        check_number(self.proximal_weight, f"{type(self).__name__}.proximal_weight")
        damping = self.learning_rate * self.proximal_weight
        return step_weight_norm(self.num_steps, momentum, damping, given.get("nesterov", False))

    def gradient_of_steps(self, correction: Tensors) -> Tensors:
        """Return (x - y) / (lr ||a||_1) - `correction`: the mean gradient of the round's unclipped SGD steps.

        `correction` is what ``correct_gradients`` added to each of them. Empty at a learning rate of 0.
        """
        scale = self.learning_rate * self.step_weight_norm
        if scale == 0:
            return {}
        start = self.received[ARRAYS]
        return {name: (start[name] - self.params[name]) / scale - correction[name] for name in correction}

    def normalizer(self, purpose: Purpose, server_round: int) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the function from raw inputs to the model's, with this client's ``dataset.client-noise``.

        The noise is keyed by (`purpose`, `server_round`, client); round 0 is noise that all rounds share.
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

    def noisy_labels(self, server_round: int) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the function from true labels to noisy ones outside of local steps: ``dataset.label-noise``.

        The noise is keyed by (`server_round`, client), and drawn in the order in which labels are given.
        """
        worker = self.worker
        probability, num_classes = worker.config.dataset.label_noise, worker.dataset.num_classes
        if probability == 0:
            return lambda labels: labels
        key = (server_round, self.client_id)
        generator = torch_generator(worker.config.seed, "measurement-label-noise", *key, device=worker.device)
        return lambda labels: corrupt_labels(labels, probability, num_classes, generator)

    def label_counts(self) -> torch.Tensor:
        """Count the client's training samples by class; regression targets count as one class."""
        if self.worker.dataset.is_regression:
            return torch.tensor([self.num_examples])
        targets = self.worker.dataset.train.targets[torch.from_numpy(self.indices)]
        return torch.bincount(targets[targets >= 0], minlength=self.worker.dataset.num_classes)

    def target_counts(self, counts: torch.Tensor | None = None) -> torch.Tensor:
        """Return the expected number of training targets of each class, (classes,).

        With label noise, and those that an attacker trains on. `counts` are the label counts to use instead
        of the client's own, such as those of all clients.
        """
        config = self.worker.config
        if counts is not None:
            return expected_counts(counts, config.dataset.label_noise)
        expected = expected_counts(self.label_counts(), config.dataset.label_noise)
        if (attack := attack_of(config, self.client_id)) is None:
            return expected
        replaced = attack.labels(torch.arange(len(expected)), len(expected))
        return torch.zeros_like(expected).index_add_(0, replaced, expected)
