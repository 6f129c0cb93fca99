"""Central evaluation of the global model."""

from collections.abc import Callable, Mapping

import torch
from flwr.app import Array, ArrayRecord
from torch import nn

from common.config import Config
from common.device import autocast, prepare_process, resolve_device, to_device
from common.errors import UserError
from common.randomness import torch_generator
from common.records import Tensors, to_record, to_tensors
from datasets.client_data.client_tests import global_class_groups
from datasets.dataset import Dataset, Split
from datasets.noise.client_noise import NoisyNormalizer, noise_levels, noisy_images
from datasets.transforms import augmented, is_augmented, make_normalizer
from models.batch_norm import recalibrate
from models.classifier import Classifier
from models.configured import build_configured_model
from models.foreign import check_keyed
from models.heads.realignment import HEAD
from models.heads.shared_body import SharedBody
from models.measures.class_report import GROUP_NAMES, group_accuracies
from models.measures.evaluation import Evaluation, evaluate
from models.measures.numbers import evaluate_numbers
from models.measures.own import find_metrics, means
from models.measures.sharpness import hessian_trace
from models.sizes.submodels import EntrySelection, SubModels, as_splittable, parse_sizes

_OF_SIZES = ("_loss", "_accuracy")  # what is reported of every sub-model


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
        self._metrics = find_metrics(config.metrics)
        device = resolve_device(config.device)
        self._device = device
        self.model = build_configured_model(
            config, dataset.input_shape, dataset.num_outputs, dataset.target_shape, dataset.is_text
        )
        check_keyed(self.model, config.model.name, make_normalizer(dataset)(dataset.train.inputs[:2]))
        self._channels_last = config.local.channels_last or config.evaluate.precision == "bfloat16"
        to_device(self.model, device, self._channels_last)
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
        groups = global_class_groups(config, dataset)
        self._groups = None if groups is None else torch.from_numpy(groups)
        self._test_sums: Evaluation | None = None
        self._submodels = self._make_submodels(config.model.sizes)
        self._recalibrates = config.batch_norm.policy == "recalibrate" and any(
            True for _ in self.model.buffers()
        )

    def initial_arrays(self) -> ArrayRecord:
        """Return the initial global model."""
        return to_record(self.model.state_dict())

    def finished(self, arrays: Mapping[str, Array]) -> ArrayRecord:
        """Return the model as it is evaluated and saved: with ``recalibrate``, buffers estimated again."""
        self._load(self.model, to_tensors(arrays))
        return to_record(self.model.state_dict())

    @property
    def recalibrates_sizes(self) -> bool:
        """Whether sub-models are evaluated with statistics of their own."""
        return self._recalibrates and bool(self._submodels)

    def recalibrated(self, arrays: Mapping[str, Array], size: str) -> ArrayRecord:
        """Return a sub-model of a size with buffers estimated again."""
        model = self._submodels[size][0] or self.model
        self._load(model, to_tensors(arrays))
        return to_record(model.state_dict())

    def __call__(
        self, arrays: Mapping[str, Array], variants: Mapping[str, Mapping[str, torch.Tensor]] | None = None
    ) -> dict[str, float]:
        """Return loss and accuracy on each split, as ``test_loss``, ``test_accuracy`` and so on.

        If the targets are numbers, ``test_mse``, ``test_mae`` and ``test_r2`` instead of accuracies, and
        ``test_loss`` is the first of them. The run's own metrics are ``test_<name>``.

        For data with natural clients, also the mean over these of their accuracies (``test_accuracy_macro``)
        and its 10th and 90th percentile (``test_accuracy_p10``, ``test_accuracy_p90``). With ``model.sizes``,
        also those of each sub-model (``test_accuracy_<size>``) and their mean (``test_accuracy_mean``). Of
        long-tailed data, also the accuracies over head, middle and tail classes (``test_accuracy_head``).
        `variants` of the model, each given by the entries in which it differs, add ``test_accuracy_<name>``.
        With ``analysis.sharpness-images``, also the ``sharpness`` of the training loss.
        """
        state = to_tensors(arrays)
        self._load(self.model, state)
        sharpness = {"sharpness": self._sharpness()} if self._config.analysis.sharpness_images else {}
        results = self._evaluate_variants(state, variants) if variants else self._evaluate(self.model)
        results |= sharpness
        of_global_model = self._test_sums
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
        self._test_sums = of_global_model
        return results

    def _evaluate_variants(
        self, state: Tensors, variants: Mapping[str, Mapping[str, torch.Tensor]]
    ) -> dict[str, float]:
        """Return results of the loaded model and of its variants; heads alone share one pass of the body."""
        one_label_each = not self._dataset.target_shape
        shared = SharedBody(self.model) if isinstance(self.model, Classifier) and one_label_each else None
        results = self._evaluate(shared or self.model)
        of_global_model = self._test_sums
        head = {name: value for name, value in state.items() if name.startswith(HEAD)}
        for name, entries in variants.items():
            if shared and all(entry.startswith(HEAD) for entry in entries):
                self.model.load_state_dict({**head, **entries}, strict=False)
                shared.replay()
                own = self._evaluate(shared)
            else:
                self._load(self.model, {**state, **entries})
                own = self._evaluate(self.model)
            results |= {f"{key}_{name}": value for key, value in own.items()}
        self._test_sums = of_global_model
        return results

    def class_rows(self) -> list[dict[str, int | float | str]]:
        """Return what the last global model scored on each class of the test set, if groups are reported."""
        sums = self._test_sums
        if self._groups is None or sums is None:
            return []
        trained = torch.bincount(self._dataset.train.targets, minlength=self._dataset.num_classes)
        return [
            {
                "class": name,
                "group": GROUP_NAMES[int(self._groups[label])],
                "train_examples": int(trained[label]),
                "test_accuracy": float(sums.correct[label] / sums.count[label]),
            }
            for label, name in enumerate(self._dataset.class_names)
            if sums.count[label] > 0
        ]

    def _evaluate(self, model: nn.Module) -> dict[str, float]:
        with autocast(self._device, self._config.evaluate.precision):
            return self._evaluate_splits(model)

    def _evaluate_splits(self, model: nn.Module) -> dict[str, float]:
        results: dict[str, float] = {}
        for name, split in self._splits.items():
            # Noisy ones are normalised.
            normalizer = self._normalizer if self._sigma == 0 else torch.Tensor.float
            if self._dataset.is_regression:
                results |= self._number_errors(model, name, split)
                continue
            sums = evaluate(
                model,
                split.inputs,
                split.targets,
                normalizer,
                self._dataset.num_classes,
                self._config.evaluate.batch_size,
                split.clients,
                metrics=self._metrics,
            )
            results[f"{name}_loss"], results[f"{name}_accuracy"] = sums.mean()
            results |= means(sums.own, f"{name}_")
            if self._groups is not None:
                self._test_sums = sums if name == "test" else self._test_sums
                results |= group_accuracies(f"{name}_accuracy", sums, self._groups)
            if split.clients is not None:
                held = sums.count > 0
                accuracies = sums.correct[held] / sums.count[held]
                results[f"{name}_accuracy_macro"] = float(accuracies.mean())
                for percent in (10, 90):
                    results[f"{name}_accuracy_p{percent}"] = float(accuracies.quantile(percent / 100))
        return results

    def _number_errors(self, model: nn.Module, name: str, split: Split) -> dict[str, float]:
        sums = evaluate_numbers(
            model,
            split.inputs,
            split.targets,
            self._normalizer,
            self._config.evaluate.batch_size,
            metrics=self._metrics,
        )
        errors = {f"{name}_{key}": value for key, value in sums.results().items()}
        return {**errors, **means(sums.own, f"{name}_")}

    def _sharpness(self) -> float:
        """Estimate the trace of the Hessian of the training loss, on the same images in every round."""
        options, train = self._config.analysis, self._dataset.train
        chosen = torch.linspace(0, len(train) - 1, min(options.sharpness_images, len(train))).long()
        return hessian_trace(
            self.model,
            self._normalizer(train.inputs[chosen].to(self._device)),
            train.targets[chosen].to(self._device),
            self._config.evaluate.batch_size,
            options.sharpness_probes,
            torch_generator(self._config.seed, "probe"),
        )

    def _make_submodels(self, sizes: str) -> dict[str, tuple[nn.Module | None, EntrySelection]]:
        """Return for each size its model, None for the whole, and what of the whole it holds."""
        if not sizes:
            return {}
        names = parse_sizes(self.model, sizes)
        submodels = SubModels(self.model, names)
        made: dict[str, tuple[nn.Module | None, EntrySelection]] = {}
        for size in dict.fromkeys(names):
            model = None if submodels.is_whole(size) else as_splittable(self.model).submodel(size)
            if model is not None:
                to_device(model, self._device, self._channels_last)
            made[size] = (model, submodels.selection(size))
        return made

    def _load(self, model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
        model.load_state_dict(state)
        if self._recalibrates:
            options = self._config.batch_norm
            recalibrate(
                model,
                self._dataset.train.inputs,
                self._recalibration_normalizer(),
                options.batch_size or self._config.evaluate.batch_size,
                self._device,
                options.batches,
            )

    def _recalibration_normalizer(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return what makes inputs of training images: the same ones in every round."""
        normalizer = self._normalizer if self._sigma == 0 else self._noisy_normalizer()
        config = self._config
        if not config.batch_norm.augmented or not is_augmented(config.augmentation):
            return normalizer
        generator = torch_generator(config.seed, "recalibration", device=self._device)
        return lambda images: augmented(images, normalizer, config.augmentation, generator)

    def _noisy_normalizer(self) -> NoisyNormalizer:
        """Return what gives image j the noise of client j mod K: the same images each time."""
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
