"""The data that a client's models are tested on, and the global model's results on them."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from common.records import Section
from models.evaluation import Evaluation, evaluate

if TYPE_CHECKING:
    from clients.base import Client, Predictor
    from clients.worker import Worker


@dataclass(frozen=True)
class ClientEvaluationData:
    """Test samples of one client and what each class counts.

    Attributes
    ----------
    inputs, targets : torch.Tensor
        The samples.
    class_weights : torch.Tensor or None
        How much each class counts; None counts samples.
    make_normalizer : callable
        Makes what turns the inputs into the model's: anew for each model, so that all see the same noise.
    """

    worker: "Worker"
    inputs: torch.Tensor
    targets: torch.Tensor
    class_weights: torch.Tensor | None
    make_normalizer: Callable[[], Callable[[torch.Tensor], torch.Tensor]]

    def evaluate(self, predictor: "Predictor") -> tuple[float, float]:
        """Return loss and accuracy of the logits that `predictor` gives, the model in evaluation mode."""
        worker = self.worker
        sums = evaluate(
            worker.model,
            self.inputs,
            self.targets,
            self.make_normalizer(),
            worker.dataset.num_classes,
            worker.config.evaluate.batch_size,
            predictor=predictor,
        )
        return sums.mean(self.class_weights)


def client_evaluation_data(client: "Client") -> ClientEvaluationData:
    """Return the test samples of a client.

    A natural client has its own (``partition.name = "natural"``). Any other is tested on the samples of its
    classes, weighted by its training label frequencies; with a label per position, on the whole test set.
    With ``dataset.client-noise`` they have the client's noise, the same in all rounds.
    """
    worker, test = client.worker, client.worker.dataset.test
    held: torch.Tensor | slice = slice(None)
    if _is_natural(worker):
        assert test.clients is not None
        held = test.clients == client.client_id
    elif not worker.dataset.target_shape:
        held = torch.isin(test.targets, client.label_counts().nonzero().flatten())
    make_normalizer = functools.partial(client.normalizer, "noise", 0)
    return ClientEvaluationData(
        worker, test.inputs[held], test.targets[held], _class_weights(client), make_normalizer
    )


def evaluate_global_model(client: "Client", arrays: Section) -> tuple[float, float]:
    """Return loss and accuracy of the global model, which is loaded, on a client's test data.

    One pass over the whole test set serves all clients that this worker evaluates on the same `arrays`,
    unless each of them sees the data or the model in a way of its own.
    """
    worker = client.worker
    if worker.config.dataset.client_noise or worker.config.batch_norm.policy == "local":
        return client_evaluation_data(client).evaluate(worker.model)
    cached = worker.global_evaluation
    if cached is None or not _same_memory(cached[0], arrays):
        cached = worker.global_evaluation = (arrays, _evaluate_test_set(worker))
    sums = cached[1]
    if _is_natural(worker):
        total = sums.count[client.client_id]
        return float(sums.loss[client.client_id] / total), float(sums.correct[client.client_id] / total)
    return sums.mean(_class_weights(client))


def _evaluate_test_set(worker: "Worker") -> Evaluation:
    """Return sums per class, or per natural client."""
    test = worker.dataset.test
    return evaluate(
        worker.model,
        test.inputs,
        test.targets,
        worker.normalizer,
        worker.dataset.num_classes,
        worker.config.evaluate.batch_size,
        groups=test.clients if _is_natural(worker) else None,
    )


def _is_natural(worker: "Worker") -> bool:
    return worker.config.partition.name == "natural"


def _class_weights(client: "Client") -> torch.Tensor | None:
    one_label_each = not _is_natural(client.worker) and not client.worker.dataset.target_shape
    return client.label_counts() if one_label_each else None


def _same_memory(first: Section, second: Section) -> bool:
    return first.keys() == second.keys() and all(
        first[name].data_ptr() == second[name].data_ptr() for name in first
    )
