"""Client-side evaluation: the test data of a client, and the global model's results on them."""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from clients.hooks import Hooks, Predictor
from clients.local.worker import Worker
from common.device import autocast
from common.records import Tensors
from common.returned import check_logits, check_predictors
from datasets.client_data.client_tests import client_class_groups, local_tests
from models.measures.class_report import ClassReport
from models.measures.evaluation import Evaluation, evaluate, logits_of, tally
from models.measures.numbers import evaluate_numbers
from models.measures.own import Own, counted_means, own_of


@dataclass(frozen=True)
class ClientEvaluationData:
    """Test samples of one client, and the weight of each class.

    Attributes
    ----------
    inputs, targets : torch.Tensor
        The samples.
    class_weights : torch.Tensor or None
        Weight of each class; None weights all samples equally.
    make_normalizer : callable
        Returns the function from raw inputs to the model's; called for each model, so that all see the same
        noise.
    report : ClassReport or None
        What is reported in addition to loss and accuracy, for long-tailed data.
    """

    worker: Worker
    inputs: torch.Tensor
    targets: torch.Tensor
    class_weights: torch.Tensor | None
    make_normalizer: Callable[[], Callable[[torch.Tensor], torch.Tensor]]
    report: ClassReport | None = None

    def measure(self, predictor: Predictor, prefix: str = "") -> dict[str, float]:
        """Return the metrics of `predictor`, with the model in evaluation mode.

        Returns
        -------
        dict
            ``loss`` and ``accuracy``, or regression errors (`NumberSums.results`), what the report adds, and
            the run's own metrics, over the samples; names begin with `prefix`.
        """
        with _precision(self.worker):
            results, own = self._measured(predictor)
        return {f"{prefix}{name}": value for name, value in results.items()} | counted_means(own, prefix)

    def _measured(self, predictor: Predictor) -> tuple[dict[str, float], Own]:
        """Return the results, and the sums of the run's own metrics."""
        worker = self.worker
        batch_size, normalizer = worker.config.evaluate.batch_size, self.make_normalizer()
        if worker.dataset.is_regression:
            numbers = evaluate_numbers(
                worker.model,
                self.inputs,
                self.targets,
                normalizer,
                batch_size,
                predictor=predictor,
                metrics=worker.metrics,
            )
            return numbers.results(), numbers.own
        if self.report is None:
            sums = evaluate(
                worker.model,
                self.inputs,
                self.targets,
                normalizer,
                worker.dataset.num_classes,
                batch_size,
                predictor=predictor,
                metrics=worker.metrics,
            )
            loss, accuracy = sums.mean(self.class_weights)
            return {"loss": loss, "accuracy": accuracy}, sums.own
        logits = logits_of(worker.model, self.inputs, normalizer, batch_size, predictor)
        targets = self.targets.to(logits.device)
        results = self.report.measure(logits, targets, self.class_weights)
        return results, own_of(logits, targets, worker.metrics)


def predictors_of(client: Hooks) -> dict[str, Predictor]:
    """Return a client's predictors by name, those of a user's class with a check of what they return.

    Raises
    ------
    UserError
        If they are no functions.
    """
    hook = "personal_predictors" if client.overrides("personal_predictors") else "personal_predictor"
    called = f"{type(client).__name__}.{hook}"
    found = client.personal_predictors()
    check_predictors(found, f"what {called} returns")
    if not client.is_from_outside:
        return found
    num_classes = client.worker.dataset.num_classes

    def checked(predictor: Predictor) -> Predictor:
        def predict(inputs: torch.Tensor) -> torch.Tensor:
            logits = predictor(inputs)
            check_logits(logits, len(inputs), num_classes, f"what the function from {called} returns")
            return logits

        return predict

    return {name: checked(predictor) for name, predictor in found.items()}


def client_evaluation_data(client: Hooks) -> ClientEvaluationData:
    """Return the test samples of a client.

    A natural client has its own (``partition.name = "natural"``). Any other is tested on the test samples of
    its classes, weighted by its training label frequencies; with ``clients.test-data =
    "training-distribution"``, on a subset with these label frequencies; with one label per position, on the
    whole test set. With ``dataset.client-noise`` they have the client's noise, the same in all rounds.
    """
    worker, test = client.worker, client.worker.dataset.test
    held = _test_samples(client)
    make_normalizer = functools.partial(client.normalizer, "noise", 0)
    return ClientEvaluationData(
        worker,
        test.inputs[held],
        test.targets[held],
        _class_weights(client),
        make_normalizer,
        _class_report(client),
    )


def evaluate_global_model(client: Hooks, arrays: Tensors) -> dict[str, float]:
    """Return loss, accuracy and so on of the global model, which is loaded, on a client's test data.

    One pass over the whole test set serves all clients that this worker evaluates on the same `arrays`,
    unless the data or the model differ by client.
    """
    worker = client.worker
    sees_more = worker.metrics or (worker.dataset.is_regression and _is_natural(worker))
    if sees_more or worker.config.dataset.client_noise or worker.config.batch_norm.policy == "local":
        return client_evaluation_data(client).measure(worker.model)
    results: dict[str, float] | torch.Tensor | Evaluation
    cached = worker.global_evaluation
    if cached is None or not _same_memory(cached[0], arrays):
        if worker.dataset.is_regression:
            all_clients = client_evaluation_data(client).measure(worker.model)
            worker.global_evaluation = (arrays, all_clients)
            return all_clients
        needs_samples = _draws_samples(worker) or worker.config.class_groups != "none"
        results = _test_logits(worker) if needs_samples else _evaluate_test_set(worker)
        cached = worker.global_evaluation = (arrays, results)
    results = cached[1]
    if isinstance(results, dict):
        return results
    if isinstance(results, torch.Tensor):
        held = _test_samples(client)
        logits, targets = results[held], worker.dataset.test.targets[held].to(results.device)
        weights, report = _class_weights(client), _class_report(client)
        if report is not None:
            return report.measure(logits, targets, weights)
        loss, accuracy = tally(logits, targets).mean(weights)
    elif _is_natural(worker):
        total = results.count[client.client_id]
        loss = float(results.loss[client.client_id] / total)
        accuracy = float(results.correct[client.client_id] / total)
    else:
        loss, accuracy = results.mean(_class_weights(client))
    return {"loss": loss, "accuracy": accuracy}


def _evaluate_test_set(worker: Worker) -> Evaluation:
    """Return sums per class, or per natural client."""
    test = worker.dataset.test
    with _precision(worker):
        return evaluate(
            worker.model,
            test.inputs,
            test.targets,
            worker.normalizer,
            worker.dataset.num_classes,
            worker.config.evaluate.batch_size,
            groups=test.clients if _is_natural(worker) else None,
        )


def _test_logits(worker: Worker) -> torch.Tensor:
    batch_size = worker.config.evaluate.batch_size
    with _precision(worker):
        return logits_of(worker.model, worker.dataset.test.inputs, worker.normalizer, batch_size)


def _test_samples(client: Hooks) -> torch.Tensor | slice:
    """Return the indices of the test samples on which a client is tested."""
    worker, test = client.worker, client.worker.dataset.test
    if _is_natural(worker):
        assert test.clients is not None
        return test.clients == client.client_id
    if _draws_samples(worker):
        return torch.from_numpy(local_tests(worker.config, worker.dataset).indices[client.client_id])
    if worker.dataset.target_shape or worker.dataset.is_regression:
        return slice(None)
    return torch.isin(test.targets, client.label_counts().nonzero().flatten())


def _class_report(client: Hooks) -> ClassReport | None:
    worker = client.worker
    groups = client_class_groups(worker.config, worker.dataset, client.client_id)
    if groups is None:
        return None
    allowed = None
    if worker.config.evaluate.mask == "train-counts":
        allowed = client.label_counts() > 0
    elif worker.config.evaluate.mask == "test-counts":
        tested = worker.dataset.test.targets[_test_samples(client)]
        allowed = torch.bincount(tested, minlength=worker.dataset.num_classes) > 0
    return ClassReport(torch.from_numpy(groups), allowed)


def _draws_samples(worker: Worker) -> bool:
    return worker.config.clients.test_data == "training-distribution"


def _is_natural(worker: Worker) -> bool:
    return worker.config.partition.name == "natural" and worker.dataset.test.clients is not None


def _class_weights(client: Hooks) -> torch.Tensor | None:
    if _draws_samples(client.worker):
        return None
    dataset = client.worker.dataset
    one_label_each = not (_is_natural(client.worker) or dataset.target_shape or dataset.is_regression)
    return client.label_counts() if one_label_each else None


def _same_memory(first: Tensors, second: Tensors) -> bool:
    return first.keys() == second.keys() and all(
        first[name].data_ptr() == second[name].data_ptr() for name in first
    )


def _precision(worker: Worker) -> AbstractContextManager[object]:
    """Return the context for predictions in evaluation (``evaluate.precision``)."""
    return autocast(worker.device, worker.config.evaluate.precision)
