"""Ratio loss (Wang et al., AAAI 2021): weights classes by ratios of the global model's gradients.

arXiv:2008.06217.
"""

import math

import torch
from torch.nn import functional as F

from clients._class_gradients import class_gradients
from clients.base import Client
from clients.local.batches import Batch
from common.config import Config
from common.errors import UserError
from common.randomness import numpy_generator
from common.records import Tensors
from common.sections import NonNegativeFloat, Positive
from datasets.dataset import Split
from models.classifier import as_classifier
from models.measures.evaluation import logits_of


class RatioLoss(Client):
    """Cross-entropy times alpha + beta R_y, where R is the class ratio of the received global model.

    The ratio is estimated on an auxiliary set, the same for all clients: up to ``auxiliary_samples`` of each
    class, from the validation data, or from all training data if there are none. In the paper the server's
    monitor does this; here each client does, with the same result. ``largest_ratio`` bounds R (0: no bound),
    which is unbounded where the other classes' gradients vanish. The bound of 100 is ours; the authors' code
    has 5000, and takes the ratio of sums, over the weights that one class alone moves most, a round later.
    """

    NEEDS_ONE_LABEL = True

    alpha: NonNegativeFloat = 1.0
    beta: NonNegativeFloat = 0.1
    auxiliary_samples: Positive = 10
    largest_ratio: NonNegativeFloat = 100.0

    def validate(self) -> None:
        """Refuse models without a head, and data without an auxiliary set that all clients can access."""
        as_classifier(self.worker.model)
        if self.worker.config.partition.name == "node":
            raise UserError(
                "ratio-loss needs an auxiliary set that all clients know: choose another partition than"
                " 'node', or another method"
            )

    @classmethod
    def how_data_leak(cls, config: Config, has_validation: bool) -> str:
        """Return the reason if there are no validation data: the auxiliary set has others' samples."""
        if has_validation:
            return ""
        return (
            f"'{config.method.name}' without dataset.validation-fraction: clients would learn from others'"
            " samples"
        )

    def begin_round(self) -> None:
        """Estimate the ratios at the received model."""
        ratios = class_ratios(*self._auxiliary_features(), as_classifier(self.worker.model).classifier)
        self.class_weights = self.alpha + self.beta * ratios.clamp(max=self.largest_ratio or math.inf)

    def loss(self, params: Tensors, batch: Batch) -> torch.Tensor:
        """Return the mean of (alpha + beta R_y) times the cross-entropy."""
        losses = F.cross_entropy(self.forward(params, batch.inputs), batch.targets, reduction="none")
        return (self.class_weights[batch.targets] * losses).mean()

    def _auxiliary_features(self) -> tuple[torch.Tensor, torch.Tensor]:
        worker, data = self.worker, self._auxiliary_set()
        model = as_classifier(worker.model)
        normalizer = self.normalizer("measurement", self.server_round)
        batch_size = worker.config.evaluate.batch_size
        return logits_of(model, data.inputs, normalizer, batch_size, model.embed), data.targets.to(
            worker.device
        )

    def _auxiliary_set(self) -> Split:
        worker = self.worker
        source = worker.dataset.validation or worker.dataset.train
        order = numpy_generator(worker.config.seed, "auxiliary").permutation(len(source))
        targets = source.targets[torch.from_numpy(order)]
        one_hot = F.one_hot(targets, worker.dataset.num_classes)
        rank = (one_hot.cumsum(0) * one_hot).sum(1)  # of each sample within its class, from 1
        return source.subset(order[(rank <= self.auxiliary_samples).numpy()])


def class_ratios(features: torch.Tensor, targets: torch.Tensor, head: torch.nn.Linear) -> torch.Tensor:
    """Return R_p = |mean_i (C - 1) g_pi(p) / sum_{j != p} g_pi(j)|, of shape (classes,).

    g_pi(j) is the gradient of class j's mean loss with respect to the weight from feature i to class p.
    Weights at which the other classes have no gradient do not count.

    Parameters
    ----------
    features : torch.Tensor
        (samples, d).
    targets : torch.Tensor
        int64, (samples,).
    head : torch.nn.Linear
        From d features to the classes.
    """
    gradients = class_gradients(features, targets, head)
    own = gradients.diagonal(dim1=0, dim2=1).T  # (classes, d)
    others = gradients.sum(dim=0) - own
    counts = others != 0
    links = torch.where(counts, (len(own) - 1) * own / torch.where(counts, others, 1.0), 0.0)
    return (links.sum(dim=1) / counts.sum(dim=1).clamp(min=1)).abs()
