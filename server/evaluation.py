"""Central evaluation of the global model."""

from collections.abc import Mapping

import torch
from flwr.app import Array, ArrayRecord
from torch import nn

from common.config import Config
from common.device import prepare_process, resolve_device, to_device
from common.errors import UserError
from common.randomness import torch_generator
from common.records import to_record, to_section
from datasets.dataset import Dataset, Split
from datasets.noise import NoisyNormalizer, noise_levels, noisy_images
from datasets.transforms import make_normalizer
from models.batch_norm import recalibrate
from models.configured import build_configured_model
from models.evaluation import evaluate
from models.submodels import Selection, SubModels, as_splittable, parse_sizes

_OF_SIZES = ("_loss", "_accuracy")  # what is told of every sub-model


class CentralEvaluation:
    """Evaluates global models on the server's test and validation data with one resident model.

    With ``dataset.client-noise``, image j has the noise of client j mod K, drawn once: the mixture of
    NIID-Bench, which evaluates on K noisy copies of the test set, for the price of one. The images are kept
    as float32.

    Parameters
    ----------
    config : Config
        The run's configuration.
    dataset : Dataset
        The data set; only what is evaluated is moved to the device.
    """

    def __init__(self, config: Config, dataset: Dataset) -> None:
        prepare_process(config.resources.threads_per_worker)
        self._config = config
        self._dataset = dataset
        device = resolve_device(config.device)
        self._device = device
        self.model = build_configured_model(
            config, dataset.input_shape, dataset.num_classes, dataset.target_shape
        )
        to_device(self.model, device, config.local.channels_last)
        self._normalizer = make_normalizer(dataset, device)
        self._splits: dict[str, Split] = {"test": dataset.test.to(device)}
        if dataset.validation is not None:
            self._splits["validation"] = dataset.validation.to(device)
        if config.evaluate.drop_last:
            self._splits = {
                name: _full_batches(split, config.evaluate.batch_size) for name, split in self._splits.items()
            }
        self._sigma = config.dataset.client_noise
        if self._sigma > 0:
            noisy = self._noisy_normalizer()
            self._splits = {
                name: Split(noisy_images(noisy, split.inputs, config.clients.count), split.targets)
                for name, split in self._splits.items()
            }
        self._submodels = self._make_submodels(config.model.sizes)
        self._recalibrates = config.batch_norm.policy == "recalibrate" and any(
            True for _ in self.model.buffers()
        )

    def initial_arrays(self) -> ArrayRecord:
        """Return the initial global model."""
        return to_record(self.model.state_dict())

    def finished(self, arrays: Mapping[str, Array]) -> ArrayRecord:
        """Return the model as it is evaluated and saved: with ``recalibrate``, buffers estimated anew."""
        self._load(self.model, to_section(arrays))
        return to_record(self.model.state_dict())

    @property
    def recalibrates_sizes(self) -> bool:
        """Whether sub-models are evaluated with statistics of their own."""
        return self._recalibrates and bool(self._submodels)

    def recalibrated(self, arrays: Mapping[str, Array], size: str) -> ArrayRecord:
        """Return a sub-model of a size with buffers estimated anew."""
        model = self._submodels[size][0] or self.model
        self._load(model, to_section(arrays))
        return to_record(model.state_dict())

    def __call__(self, arrays: Mapping[str, Array]) -> dict[str, float]:
        """Return loss and accuracy on each split, as ``test_loss``, ``test_accuracy`` and so on.

        For data with natural clients, also the mean over these of their accuracies (``test_accuracy_macro``)
        and its 10th and 90th percentile (``test_accuracy_p10``, ``test_accuracy_p90``). With ``model.sizes``,
        also those of each sub-model (``test_accuracy_<size>``) and their mean (``test_accuracy_mean``).
        """
        state = to_section(arrays)
        self._load(self.model, state)
        results = self._evaluate(self.model)
        by_size: dict[str, dict[str, float]] = {}
        for size, (model, selection) in self._submodels.items():
            if model is not None:
                self._load(model, selection.take(state))
            own = results if model is None else self._evaluate(model)
            by_size[size] = {key: own[key] for key in results if key.endswith(_OF_SIZES)}
        for key in results if by_size else ():
            if key.endswith(_OF_SIZES):
                values = {f"{key}_{size}": own[key] for size, own in by_size.items()}
                results = {**results, f"{key}_mean": sum(values.values()) / len(values), **values}
        return results

    def _evaluate(self, model: nn.Module) -> dict[str, float]:
        results: dict[str, float] = {}
        for name, split in self._splits.items():
            sums = evaluate(
                model,
                split.inputs,
                split.targets,
                self._normalizer if self._sigma == 0 else torch.Tensor.float,  # noisy ones are normalised
                self._dataset.num_classes,
                self._config.evaluate.batch_size,
                split.clients,
            )
            results[f"{name}_loss"], results[f"{name}_accuracy"] = sums.mean()
            if split.clients is not None:
                held = sums.count > 0
                accuracies = sums.correct[held] / sums.count[held]
                results[f"{name}_accuracy_macro"] = float(accuracies.mean())
                for percent in (10, 90):
                    results[f"{name}_accuracy_p{percent}"] = float(accuracies.quantile(percent / 100))
        return results

    def _make_submodels(self, sizes: str) -> dict[str, tuple[nn.Module | None, Selection]]:
        """Return for each size its model, None for the whole, and what of the whole it holds."""
        if not sizes:
            return {}
        names = parse_sizes(self.model, sizes)
        submodels = SubModels(self.model, names)
        made: dict[str, tuple[nn.Module | None, Selection]] = {}
        for size in dict.fromkeys(names):
            model = None if submodels.is_whole(size) else as_splittable(self.model).submodel(size)
            if model is not None:
                to_device(model, self._device, self._config.local.channels_last)
            made[size] = (model, submodels.selection(size))
        return made

    def _load(self, model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
        model.load_state_dict(state)
        if self._recalibrates:
            train = self._dataset.train
            normalizer = self._normalizer if self._sigma == 0 else self._noisy_normalizer()
            recalibrate(model, train.inputs, normalizer, self._config.evaluate.batch_size, self._device)

    def _noisy_normalizer(self) -> NoisyNormalizer:
        """Return what gives image j the noise of client j mod K: the same images whenever it is made anew."""
        config = self._config
        levels = noise_levels(self._sigma, config.clients.count)
        generator = torch_generator(config.seed, "noise", 0, config.clients.count)
        return NoisyNormalizer(self._normalizer, self._dataset.std, levels, generator)


def _full_batches(split: Split, batch_size: int) -> Split:
    kept = len(split) - len(split) % batch_size
    if not kept:
        raise UserError(
            f"evaluate.drop-last leaves none of {len(split)} samples: lower evaluate.batch-size, {batch_size}"
        )
    clients = None if split.clients is None else split.clients[:kept]
    return Split(split.inputs[:kept], split.targets[:kept], clients)
