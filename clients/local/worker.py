"""What a process keeps between jobs: data on the device, the partition, one model and its optimiser."""

import copy
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from clients.local.optimizers import make_optimizer, optimizer_form
from common.chosen import chosen_function
from common.config import Config
from common.device import prepare_process, resolve_device, to_device
from common.errors import UserError
from common.outside_code import clients_run_outside_code
from common.plugin_kinds import LOSS
from common.rates import learning_rate, varies_by_step
from common.records import Payload, Tensors
from datasets.configured import open_dataset
from datasets.partition import Partition
from datasets.partition_scheme import partition_clients
from datasets.transforms import make_normalizer
from models.architectures.layers import dropout_layers
from models.batch_norm import batch_norm_layers
from models.configured import build_configured_model
from models.measures.evaluation import Evaluation
from models.measures.own import find_metrics
from models.outside import has_outside_modules, key_recurrent_dropout, own_generators
from models.sizes.submodels import as_splittable

# With this partition a client holds whatever training data lie in its node's own data directory.
NODE_PARTITION = "node"

_RENAMED = {"state": "model_state", "initial_state": "initial_model"}


class Worker:
    """The resident state of one worker process; jobs of any client run on it one after the other.

    Parameters
    ----------
    config : Config
        The run's configuration.
    data_root : str
        The node's own data folder; empty for ``dataset.root``.
    """

    # The last loaded section and the last snapshot, each with the versions of the model's entries then.
    _loaded: Mapping[str, torch.Tensor] | None = None
    _loaded_as: tuple[int, ...] = ()
    _copies: Tensors
    _copied_as: tuple[int, ...] | None = None
    _trainings = 0
    _rate = -1, 0.0  # the latest round that was asked for, and its learning rate

    def __getattr__(self, name: str) -> Any:
        """Answer a former name of an attribute with its present one."""
        if name in _RENAMED:
            raise UserError(f"worker.{name} is now worker.{_RENAMED[name]}")
        raise AttributeError(f"{type(self).__name__} has no attribute '{name}'")

    def __init__(self, config: Config, data_root: str = "") -> None:
        prepare_process(config.resources.threads_per_worker)
        self.config = config
        self.device = resolve_device(config.device)
        self.dataset = open_dataset(config, data_root)
        self.train = self.dataset.train.to(self.device)
        self.normalizer = make_normalizer(self.dataset, self.device)
        self._partition: Partition | None = None
        self.metrics = find_metrics(config.metrics)
        self._sized: dict[str, Worker] = {}
        self._adopt(self._build())

    def _build(self) -> nn.Module:
        dataset = self.dataset
        return build_configured_model(
            self.config,
            *dataset.model_arguments,
        )

    def _adopt(self, model: nn.Module) -> None:
        """Make a model, with its initial weights, the resident one."""
        self.model = model
        to_device(self.model, self.device, self.config.local.channels_last)
        if self.config.local.compile:
            self.model.compile()
        self.parameters: Tensors = dict(self.model.named_parameters())
        # Non-persistent buffers (constant tables) are not sent either.
        saved = self.model.state_dict()
        self.buffers: Tensors = {k: v for k, v in self.model.named_buffers() if k in saved}
        self.initial_model: Tensors = {k: v.detach().clone() for k, v in self.model_state.items()}
        self.dropout_layers = dropout_layers(self.model)
        self.own_generators = own_generators(self.model)
        self.runs_outside_code = clients_run_outside_code(self.config) or has_outside_modules(self.model)
        if self.device.type == "cuda":
            key_recurrent_dropout(self.model)
        self.batch_norm_layers = batch_norm_layers(self.model)
        self._loaded, self._copied_as = None, None  # those of another model
        self.optimizer = make_optimizer(self.parameters.values(), self.config.optimizer)
        self.__dict__.pop("optimizer_form", None)  # of another size
        # The arrays of a global model and its sums, or logits, on the test set (``evaluation.py``).
        self.global_evaluation: tuple[Tensors, Evaluation | torch.Tensor | dict[str, float]] | None = None

    def sized(self, size: str) -> "Worker":
        """Return the worker whose resident model is a sub-model of a size; all else is shared.

        There is one per size, created on first use; the empty size is the whole model.
        """
        if not size:
            return self
        if size not in self._sized:
            other = copy.copy(self)
            other._adopt(as_splittable(self._build()).submodel(size))
            self._sized[size] = other
        return self._sized[size]

    def twin(self) -> "Worker":
        """Return a worker with its own, newly initialised models; data and partition are shared."""
        twin = self._with_own_model()
        twin._sized = {size: worker._with_own_model() for size, worker in self._sized.items()}
        for worker in twin._sized.values():
            worker._sized = twin._sized
        return twin

    def _with_own_model(self) -> "Worker":
        other = copy.copy(self)
        model = copy.deepcopy(self.model)
        model.load_state_dict(self.initial_model, strict=False)
        other._adopt(model)
        return other

    @property
    def model_state(self) -> Tensors:
        """The model's parameters and buffers by name: the live tensors, not copies."""
        return {**self.parameters, **self.buffers}

    @functools.cached_property
    def optimizer_form(self) -> Tensors:
        """The names, shapes and dtypes of the optimiser's state after a step; the values mean nothing."""
        return optimizer_form(self.config.optimizer, self.parameters)

    def client_indices(self, client_id: int) -> npt.NDArray[np.int64]:
        """Return the indices of a client's training samples."""
        if self.config.partition.name == NODE_PARTITION:
            return np.arange(len(self.train))
        if self._partition is None:
            self._partition = partition_clients(self.config, self.dataset)
        return self._partition[client_id]

    def placed(self, received: Payload) -> Payload:
        """Move the sections of a message to the device; those already there are not copied."""
        if all(value.device == self.device for values in received.values() for value in values.values()):
            return received
        return {
            section: {name: value.to(self.device) for name, value in values.items()}
            for section, values in received.items()
        }

    def holds(self, section: Tensors) -> bool:
        """Return whether the resident model is unchanged since this very section was loaded."""
        return self._loaded is section and self._loaded_as == self._versions()

    def snapshot(self) -> Tensors:
        """Return read-only copies of the model's entries; the same ones until the model changes."""
        if self._copied_as != (versions := self._versions()):
            self._copies = {name: value.detach().clone() for name, value in self.model_state.items()}
            self._copied_as = versions
        return self._copies

    def mark_trained(self) -> None:
        """Mark the model as changed: torch does not count the writes of fused optimisers."""
        self._trainings += 1

    def _versions(self) -> tuple[int, ...]:
        """Return how often each entry of the model has been written to, and how often it was trained."""
        versions = [value._version for value in self.parameters.values()]
        return (self._trainings, *versions, *[value._version for value in self.buffers.values()])

    @functools.cached_property
    def loss(self) -> functools.partial[torch.Tensor]:
        """The loss that the section ``loss`` names, with its parameters bound."""
        return chosen_function(LOSS, self.config.loss)

    @functools.cached_property
    def varies_by_step(self) -> bool:
        """Whether the learning rate may change within a round."""
        return varies_by_step(self.config)

    def learning_rate(self, server_round: int) -> float:
        """Return the learning rate of a round, as ``common.rates.learning_rate``."""
        if self._rate[0] != server_round:
            self._rate = server_round, learning_rate(self.config, server_round)
        return self._rate[1]

    @torch.no_grad()
    def load(self, section: Mapping[str, torch.Tensor]) -> None:
        """Copy values into the resident model, by name.

        Raises
        ------
        ValueError
            If a name is unknown or a shape differs.
        """
        state = self.model_state
        for name, value in section.items():
            if name not in state or state[name].shape != value.shape:
                raise ValueError(
                    f"the received array '{name}' of shape {tuple(value.shape)} does not fit model"
                    f" '{self.config.model.name}'"
                )
            state[name].copy_(value)
        self._loaded, self._loaded_as = section, self._versions()


@functools.lru_cache(maxsize=1)
def get_worker(config: Config, data_root: str = "") -> Worker:
    """Return this process's worker for a run; a worker of another run is released."""
    return Worker(config, data_root)
