"""The data that a client's model is tested on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from models.evaluation import evaluate

if TYPE_CHECKING:
    from clients.base import Client, Predictor
    from clients.worker import Worker


@dataclass(frozen=True)
class ClientTestData:
    """Test samples of one client and what each class counts.

    Attributes
    ----------
    inputs, targets : torch.Tensor
        The samples.
    class_weights : torch.Tensor or None
        How much each class counts; None counts samples.
    """

    worker: "Worker"
    inputs: torch.Tensor
    targets: torch.Tensor
    class_weights: torch.Tensor | None
    normalizer: Callable[[torch.Tensor], torch.Tensor]

    def evaluate(self, predictor: "Predictor") -> tuple[float, float]:
        """Return loss and accuracy of the logits that `predictor` gives, the model in evaluation mode."""
        worker = self.worker
        sums = evaluate(
            worker.model,
            self.inputs,
            self.targets,
            self.normalizer,
            worker.dataset.num_classes,
            worker.config.evaluate.batch_size,
            predictor,
        )
        return sums.mean(self.class_weights)


def client_test_data(client: "Client") -> ClientTestData:
    """Return the test samples of the client's classes, weighted by its training label frequencies.

    With ``dataset.client-noise`` they have the client's noise, the same in all rounds.
    """
    test, counts = client.worker.dataset.test, client.label_counts()
    held = torch.isin(test.targets, counts.nonzero().flatten())
    return ClientTestData(
        client.worker, test.inputs[held], test.targets[held], counts, client.normalizer("noise", 0)
    )
