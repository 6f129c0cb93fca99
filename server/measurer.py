"""Measures models on the server's test and validation data, batch by batch."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from common.config import Config
from common.device import autocast, prepare_process, resolve_device, to_device
from common.errors import UserError
from common.randomness import torch_generator
from common.records import Tensors
from datasets.configured import open_dataset
from datasets.dataset import Dataset, Split
from datasets.noise.client_noise import NoisyNormalizer, noise_levels, noisy_images
from datasets.transforms import make_normalizer
from models.configured import build_configured_model
from models.heads.realignment import HEAD
from models.heads.shared_body import SharedBody
from models.measures.evaluation import BatchMeasures, evaluation_mode, label_measures
from models.measures.numbers import number_measures
from models.measures.own import find_metrics
from models.sizes.submodels import EntrySelection, SubModels, as_splittable, parse_sizes

# Head ("" for the model's own) → split → batches in their order.
Measures = dict[str, dict[str, list[BatchMeasures]]]


@dataclass(frozen=True)
class Candidate:
    """A model to be measured.

    Attributes
    ----------
    state : Tensors
        All its entries.
    size : str
        The sub-model's size; empty for the whole model.
    heads : mapping
        Name → entries of another head for the same body, for classifiers with one label per sample.
    """

    state: Tensors
    size: str = ""
    heads: Mapping[str, Mapping[str, torch.Tensor]] = field(default_factory=dict)


@dataclass(frozen=True)
class Share:
    """One of several nearly equal, contiguous shares of a split's batches."""

    index: int = 0
    count: int = 1

    def of(self, num_samples: int, batch_size: int) -> slice:
        """Return its samples, which make whole batches."""
        num_batches = -(-num_samples // batch_size)
        first, end = (num_batches * index // self.count for index in (self.index, self.index + 1))
        return slice(first * batch_size, end * batch_size)


@runtime_checkable
class Evaluator(Protocol):
    """Measures models in several processes; a Grid may be one."""

    def measure(self, candidate: Candidate, num_batches: int) -> list[Measures | None]:
        """Return the measures of at most `num_batches` shares, in order; None for a share that was lost.

        The list is empty if parallel measuring is not worthwhile.
        """


class _DrewNumbersError(Exception):
    """The model drew random numbers, so a share cannot be measured alone."""


class Measurer:
    """Measures models on the splits with one resident model, and one per size.

    Parameters
    ----------
    config : Config
        The run's configuration, completed.
    dataset : Dataset
        Only its test and validation data are moved to the device.
    model : nn.Module, optional
        The resident model; by default it is built.
    """

    def __init__(self, config: Config, dataset: Dataset, model: nn.Module | None = None) -> None:
        prepare_process(config.resources.threads_per_worker)
        self._config = config
        self._dataset = dataset
        self._metrics = find_metrics(config.metrics)
        self.device = resolve_device(config.device)
        self.model = model or build_configured_model(
            config,
            *dataset.model_arguments,
        )
        self._channels_last = config.local.channels_last or config.evaluate.precision == "bfloat16"
        to_device(self.model, self.device, self._channels_last)
        self.normalizer = make_normalizer(dataset, self.device)
        self.splits = self._prepare_splits()
        if not self.splits:
            raise UserError(
                "evaluate.test = false leaves nothing to evaluate: set dataset.validation-fraction above 0"
            )
        self.selections: SubModels | None = None
        self.submodels: dict[str, tuple[nn.Module | None, EntrySelection]] = {}
        if config.model.sizes:
            self.selections, self.submodels = self._make_submodels(
                parse_sizes(self.model, config.model.sizes)
            )

    def twin(self) -> "Measurer":
        """Return a measurer with its own models; the data are shared."""
        other = copy.copy(self)
        other.model = copy.deepcopy(self.model)
        other.submodels = {
            size: (copy.deepcopy(model), selection) for size, (model, selection) in self.submodels.items()
        }
        return other

    @property
    def num_batches(self) -> int:
        """Number of batches of the largest split."""
        return -(-max(map(len, self.splits.values())) // self._config.evaluate.batch_size)

    def measure_share(self, candidate: Candidate, share: Share) -> Measures | None:
        """Measure a model on a share; None if it draws random numbers, which depend on earlier batches."""
        model = self.submodels[candidate.size][0] if candidate.size else None
        model = model or self.model
        model.load_state_dict(candidate.state)
        try:
            return _on_cpu(self.measure(model, candidate.heads, share))
        except _DrewNumbersError:
            return None

    def measure(
        self,
        model: nn.Module,
        heads: Mapping[str, Mapping[str, torch.Tensor]] | None = None,
        share: Share | None = None,
    ) -> Measures:
        """Measure a loaded model, and other heads in the same pass of its body.

        The model is left with the last of these heads.
        """
        share = share or Share()
        if not heads:
            return {"": self._measure_splits(model, model, share)}
        shared = SharedBody(model)  # type: ignore[arg-type]
        head = {name: value.clone() for name, value in model.state_dict().items() if name.startswith(HEAD)}
        measures = {"": self._measure_splits(model, shared, share)}
        for name, entries in heads.items():
            model.load_state_dict({**head, **entries}, strict=False)
            shared.replay()
            measures[name] = self._measure_splits(model, shared, share)
        return measures

    def noisy_normalizer(self) -> NoisyNormalizer:
        """Return a normaliser that gives image j the noise of client j mod K, reproducibly."""
        config = self._config
        levels = noise_levels(config.dataset.client_noise, config.clients.count)
        generator = torch_generator(config.seed, "noise", 0, config.clients.count)
        return NoisyNormalizer(self.normalizer, self._dataset.std, levels, generator)

    def _measure_splits(
        self, model: nn.Module, predictor: nn.Module, share: Share
    ) -> dict[str, list[BatchMeasures]]:
        return {name: self._batches(model, predictor, split, share) for name, split in self.splits.items()}

    @torch.no_grad()
    def _batches(
        self, model: nn.Module, predictor: nn.Module, split: Split, share: Share
    ) -> list[BatchMeasures]:
        batch_size = self._config.evaluate.batch_size
        samples = share.of(len(split), batch_size)
        inputs, targets = split.inputs[samples], split.targets[samples]
        # Noisy ones are normalised.
        normalizer = self.normalizer if self._config.dataset.client_noise == 0 else torch.Tensor.float
        measure = number_measures if self._dataset.is_regression else label_measures
        with autocast(self.device, self._config.evaluate.precision), evaluation_mode(model) as drew:
            batches = list(
                measure(predictor, inputs, targets, normalizer, batch_size, self.device, self._metrics)
            )
            if share.count > 1 and drew():
                raise _DrewNumbersError
        return batches

    def _prepare_splits(self) -> dict[str, Split]:
        config, dataset = self._config, self._dataset
        splits = {"test": dataset.test.to(self.device)}
        if dataset.validation is not None:
            splits["validation"] = dataset.validation.to(self.device)
        if config.evaluate.drop_last:
            splits = {
                name: _full_batches(split, config.evaluate.batch_size) for name, split in splits.items()
            }
        if config.dataset.client_noise > 0:
            noisy, count = self.noisy_normalizer(), config.clients.count
            splits = {
                name: replace(split, inputs=noisy_images(noisy, split.inputs, count))
                for name, split in splits.items()
            }
        if not config.evaluate.test:  # after the test images, as for the noise
            del splits["test"]
        return splits

    def _make_submodels(
        self, sizes: Sequence[str]
    ) -> tuple[SubModels, dict[str, tuple[nn.Module | None, EntrySelection]]]:
        """Return what sizes hold of the whole; and for each its model, None for the whole, with that."""
        whole = as_splittable(self.model)
        models = {size: whole.submodel(size) for size in dict.fromkeys(sizes)}
        selections = SubModels(self.model, sizes, models)
        made: dict[str, tuple[nn.Module | None, EntrySelection]] = {}
        for size, model in models.items():
            if not selections.is_whole(size):
                to_device(model, self.device, self._channels_last)
            made[size] = (None if selections.is_whole(size) else model, selections.selection(size))
        return selections, made


def make_measurer(config: Config) -> Measurer:
    """Return a measurer for a worker process, given a completed configuration."""
    return Measurer(config, open_dataset(config))


def joined(shares: Iterable[Measures]) -> Measures:
    """Return the batches of all shares, in order."""
    first, *others = shares
    for share in others:
        for head, splits in share.items():
            for name, batches in splits.items():
                first[head][name] += batches
    return first


def _on_cpu(measures: Measures) -> Measures:
    return {
        head: {name: [batch.cpu() for batch in batches] for name, batches in splits.items()}
        for head, splits in measures.items()
    }


def _full_batches(split: Split, batch_size: int) -> Split:
    kept = len(split) - len(split) % batch_size
    if not kept:
        raise UserError(
            f"evaluate.drop-last leaves none of {len(split)} samples: lower evaluate.batch-size, {batch_size}"
        )
    clients = None if split.clients is None else split.clients[:kept]
    return Split(split.inputs[:kept], split.targets[:kept], clients)
