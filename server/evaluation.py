"""Central evaluation of the global model."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from flwr.app import Array, ArrayRecord, RecordDict
from torch import nn

from common.config import Config
from common.errors import UserError
from common.flower import new_array_record
from common.plugin_kinds import MODEL
from common.plugins import is_from_outside
from common.randomness import torch_generator
from common.records import Tensors, to_record, to_tensors
from common.step_rules import step_rule
from datasets.client_data.client_tests import global_class_groups
from datasets.dataset import Dataset, Split
from datasets.transforms import augmented, check_augmentation, is_augmented, make_normalizer
from models.batch_norm import recalibrate
from models.classifier import Classifier
from models.configured import build_configured_model, num_outputs
from models.heads.realignment import is_of_head
from models.measures.class_report import GROUP_NAMES, group_accuracies
from models.measures.evaluation import BatchMeasures, Evaluation, label_sums
from models.measures.numbers import number_sums
from models.measures.own import means
from models.measures.sharpness import hessian_trace
from models.outside import are_probabilities, check_keyed, check_outputs
from models.sizes.submodels import SubModels
from server.measurer import Candidate, Evaluator, Measurer, Measures, joined

_OF_SIZES = ("_loss", "_accuracy")  # what is reported of every sub-model


def keys_looking_at(config: Config, *splits: str) -> Iterator[str]:
    """Yield the keys, with their values, that decide by the global model's results on splits of the data."""
    if config.stop.is_on and config.stop.metric.startswith(splits):
        yield f"stop.metric '{config.stop.metric}'"
    if "validation" in splits and step_rule(config.steps).needs_validation:
        yield f"steps.rule '{config.steps.rule}'"


def _check_validation(config: Config, dataset: Dataset) -> None:
    """Refuse what goes by validation data where there are none, held out or of the data set's own."""
    if dataset.validation is not None:
        return
    for key in keys_looking_at(config, "validation"):
        raise UserError(
            f"{key} looks at validation data, which dataset '{dataset.name}' does not bring: set"
            " dataset.validation-fraction above 0"
        )


class CentralEvaluation:
    """Evaluates global models on the server's test and validation data with one resident model.

    With ``dataset.client-noise``, image j has the noise of client j mod K, drawn once: the mixture of
    NIID-Bench, which evaluates on K noisy copies of the test set, at the cost of one copy. The images are
    kept as float32.

    Parameters
    ----------
    config : Config
        The run's configuration.
    dataset : Dataset
        The data set; only what is evaluated is moved to the device.
    evaluator : Evaluator, optional
        Measures shares of the batches in other processes. Sums are made here, in the order of batches, so
        the bits are the same. A model that draws random numbers in evaluation mode, or one of whose shares is
        lost, is measured here; so is the sharpness, which needs all gradients in one place.
    """

    def __init__(self, config: Config, dataset: Dataset, evaluator: Evaluator | None = None) -> None:
        self._config = config
        self._dataset = dataset
        self.model = build_configured_model(
            config,
            *dataset.model_arguments,
        )
        samples = make_normalizer(dataset)(dataset.train.inputs[:2])
        self.returns_probabilities = False
        if (
            is_from_outside(MODEL, config.model.name)
            and dataset.num_classes
            and dataset.train.targets.ndim == 1
        ):
            count = num_outputs(config, dataset.num_classes)
            outputs = check_outputs(self.model, config.model.name, samples, count)
            self.returns_probabilities = count > 1 and are_probabilities(outputs)
        check_keyed(self.model, config.model.name, samples)
        check_augmentation(config.augmentation, dataset)
        _check_validation(config, dataset)
        self._measurer = Measurer(config, dataset, self.model)
        self._evaluator = evaluator
        self._normalizer = self._measurer.normalizer
        groups = global_class_groups(config, dataset)
        self._groups = None if groups is None else torch.from_numpy(groups)
        self._test_sums: Evaluation | None = None
        self._submodels = self._measurer.submodels
        self._recalibrates = config.batch_norm.policy == "recalibrate" and any(
            True for _ in self.model.buffers()
        )

    @property
    def selections(self) -> SubModels | None:
        """The part of the model that each size of ``model.sizes`` holds; None without sizes."""
        return self._measurer.selections

    def initial_arrays(self) -> ArrayRecord:
        """Return the initial global model."""
        return to_record(self.model.state_dict())

    def finished(self, arrays: Mapping[str, Array]) -> ArrayRecord:
        """Return the model as it is evaluated and saved: with ``recalibrate``, buffers are re-estimated."""
        self._load(self.model, to_tensors(arrays))
        return to_record(self.model.state_dict())

    def recalibrated(self, arrays: Mapping[str, Array], size: str = "") -> ArrayRecord:
        """Return a model, or the sub-model of a size, with re-estimated buffers.

        If clients keep some entries themselves, the server cannot estimate their statistics, and the model is
        returned as it is.
        """
        model = (self._submodels[size][0] if size else None) or self.model
        if arrays.keys() != model.state_dict().keys():
            return new_array_record(arrays)
        self._load(model, to_tensors(arrays))
        return to_record(model.state_dict())

    def recalibrate_models(self, content: RecordDict, size: str = "") -> None:
        """Replace the models in a message, maybe several, by ``recalibrated`` ones if that is asked for.

        Other sections, such as heads, stay as they are.
        """
        if self._recalibrates:
            for name, record in list(content.array_records.items()):
                content[name] = self.recalibrated(record, size)

    def __call__(
        self, arrays: Mapping[str, Array], variants: Mapping[str, Mapping[str, torch.Tensor]] | None = None
    ) -> dict[str, float]:
        """Return loss and accuracy on each split, as ``test_loss``, ``test_accuracy`` and so on.

        For regression, ``test_mse``, ``test_mae`` and ``test_r2`` instead of accuracies, and ``test_loss`` is
        the first of them. The run's own metrics are ``test_<name>``.

        For data with natural clients, also the mean of the clients' accuracies (``test_accuracy_macro``) and
        their 10th and 90th percentiles (``test_accuracy_p10``, ``test_accuracy_p90``). With ``model.sizes``,
        also those of each sub-model (``test_accuracy_<size>``) and their mean (``test_accuracy_mean``). For
        long-tailed data, also the accuracies over head, middle and tail classes (``test_accuracy_head``).
        `variants` of the model, each given by the entries in which it differs, add ``test_accuracy_<name>``.
        With ``analysis.sharpness-images``, also the ``sharpness`` of the training loss.
        """
        state = to_tensors(arrays)
        self._load(self.model, state)
        sharpness = {"sharpness": self._sharpness()} if self._config.analysis.sharpness_images else {}
        results = self._evaluate_variants(state, variants or {})
        results |= sharpness
        of_global_model = self._test_sums
        by_size: dict[str, dict[str, float]] = {}
        for size, (model, selection) in self._submodels.items():
            if model is not None:
                self._load(model, selection.take(state))
            own = results if model is None else self._results(self._measure(model, size)[""])
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
        """Return results of the loaded model and its variants; different heads share a body pass."""
        replays = isinstance(self.model, Classifier) and not self._dataset.target_shape
        heads = {name: entries for name, entries in variants.items() if replays and is_of_head(entries)}
        measured = self._measure(self.model, "", heads)
        results = self._results(measured[""])
        of_global_model = self._test_sums
        for name, entries in variants.items():
            if name not in heads:
                self._load(self.model, {**state, **entries})
                measured[name] = self._measure(self.model)[""]
            results |= {f"{key}_{name}": value for key, value in self._results(measured[name]).items()}
        self._test_sums = of_global_model
        return results

    def class_rows(self) -> list[dict[str, int | float | str]]:
        """Return the last global model's results on each class of the test set, if groups are reported."""
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

    def _measure(
        self,
        model: nn.Module,
        size: str = "",
        heads: Mapping[str, Mapping[str, torch.Tensor]] | None = None,
    ) -> Measures:
        """Measure a loaded model, in other processes if possible."""
        num_batches = self._measurer.num_batches
        if self._evaluator and num_batches > 1:
            state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
            shares = self._evaluator.measure(Candidate(state, size, heads or {}), num_batches)
            found = [share for share in shares if share is not None]
            if found and len(found) == len(shares):
                return joined(found)
        return self._measurer.measure(model, heads)

    def _results(self, measures: Mapping[str, Sequence[BatchMeasures]]) -> dict[str, float]:
        """Return a model's columns, from its measures on the batches of each split."""
        results: dict[str, float] = {}
        for name, split in self._measurer.splits.items():
            if self._dataset.is_regression:
                errors = number_sums(measures[name], split.targets)
                results |= {f"{name}_{key}": value for key, value in errors.results().items()}
                results |= means(errors.own, f"{name}_")
            else:
                results |= self._label_results(name, split, measures[name])
        return results

    def _label_results(self, name: str, split: Split, measures: Sequence[BatchMeasures]) -> dict[str, float]:
        sums = label_sums(
            measures,
            split.targets,
            self._dataset.num_classes,
            self._config.evaluate.batch_size,
            split.clients,
            self._measurer.device,
        )
        results: dict[str, float] = {}
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

    def _sharpness(self) -> float:
        """Estimate the trace of the Hessian of the training loss, on the same images in every round."""
        options, train = self._config.analysis, self._dataset.train
        chosen = torch.linspace(0, len(train) - 1, min(options.sharpness_images, len(train))).long()
        return hessian_trace(
            self.model,
            self._normalizer(train.inputs[chosen].to(self._measurer.device)),
            train.targets[chosen].to(self._measurer.device),
            self._config.evaluate.batch_size,
            options.sharpness_probes,
            torch_generator(self._config.seed, "probe"),
        )

    def _load(self, model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
        model.load_state_dict(state)
        if self._recalibrates:
            options = self._config.batch_norm
            recalibrate(
                model,
                self._dataset.train.inputs,
                self._recalibration_normalizer(),
                options.batch_size or self._config.evaluate.batch_size,
                self._measurer.device,
                options.batches,
            )

    def _recalibration_normalizer(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the function from training images to inputs, with the same noise in every round."""
        config = self._config
        is_noisy = config.dataset.client_noise > 0
        normalizer = self._measurer.noisy_normalizer() if is_noisy else self._normalizer
        if not config.batch_norm.augmented or not is_augmented(config.augmentation):
            return normalizer
        generator = torch_generator(config.seed, "recalibration", device=self._measurer.device)
        return lambda images: augmented(images, normalizer, config.augmentation, generator)
