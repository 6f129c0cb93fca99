"""The data that a client's model is tested on."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from models.evaluation import evaluate

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
    weights = None
    if worker.config.partition.name == "natural":
        assert test.clients is not None
        held = test.clients == client.client_id
    elif not worker.dataset.target_shape:
        weights = client.label_counts()
        held = torch.isin(test.targets, weights.nonzero().flatten())
    make_normalizer = functools.partial(client.normalizer, "noise", 0)
    return ClientEvaluationData(worker, test.inputs[held], test.targets[held], weights, make_normalizer)
