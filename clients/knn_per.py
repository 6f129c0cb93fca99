"""kNN-Per (Marfoq et al. 2022): the global model, mixed with the nearest neighbours in its feature space.

arXiv:2111.09360.
"""

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from clients.base import Client
from clients.hooks import Predictor
from common.errors import UserError
from common.parameters import Needs
from common.randomness import numpy_generator
from common.sections import Positive
from models.classifier import as_classifier

SMALLEST = math.log(1e-30)  # for a class without neighbours if lam = 1: log 0 is not finite
MIXES = torch.linspace(0, 1, 11, dtype=torch.float64)


class KnnPer(Client):
    """Predicts lam p_knn + (1 - lam) softmax(logits); training is FedAvg's.

    p_knn(c) is proportional to the sum of exp(-distance / scale) over those of the ``neighbours`` nearest
    training samples (Euclidean, in the global model's feature space) that have class c. Each client takes the
    lam in {0, 0.1, ..., 1} that is best on a held-out fraction ``validation_share`` of its samples, which are
    not in the datastore then; ties go to the smaller lam. ``fixed_mix`` >= 0 sets lam for all instead. The
    authors' code takes the squared distance over the number of features, and reports every lam on test data.
    """

    NEEDS: ClassVar[Mapping[str, Needs]] = {"validation_share": Needs("fixed_mix", (-1.0,))}
    NEEDS_CLASSES = True
    NEEDS_ONE_LABEL = True

    neighbours: Positive = 10
    scale: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    validation_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    fixed_mix: Annotated[float, Field(ge=-1, le=1)] = -1.0

    def validate(self) -> None:
        """Refuse a weight that is neither one nor the sign that clients choose theirs."""
        if -1 < self.fixed_mix < 0:
            raise UserError(
                f"method.fixed-mix must be -1 (each client chooses) or from 0 to 1, not {self.fixed_mix}"
            )

    def personal_predictor(self) -> Predictor:
        """Build the datastore, choose lam, and return the function from inputs to log-probabilities."""
        features, logits, targets = self._forward_all()
        mix = self.fixed_mix if self.fixed_mix >= 0 else self._best_mix(features, logits, targets)

        def predict(inputs: torch.Tensor) -> torch.Tensor:
            query, own_logits = self._forward(inputs)
            neighbours = self.knn_probabilities(query, features, targets)
            return mixed_log_probabilities(mix, neighbours, own_logits)

        return predict

    def knn_probabilities(
        self, queries: torch.Tensor, features: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """Return p_knn, float64 of shape (queries, classes)."""
        count = min(self.neighbours, len(targets))
        distances, nearest = torch.cdist(queries, features).topk(count, largest=False)
        # The nearest one's distance cancels in the normalisation.
        weights = torch.softmax((distances[:, :1] - distances) / self.scale, dim=1)
        zeros = weights.new_zeros(len(queries), self.worker.dataset.num_classes)
        return zeros.scatter_add_(1, targets[nearest], weights)

    def _best_mix(self, features: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor) -> float:
        size = round(self.validation_share * len(targets))
        if not 0 < size < len(targets):
            return 0.0
        generator = numpy_generator(self.worker.config.seed, "personal-validation", self.client_id)
        order = torch.from_numpy(generator.permutation(len(targets))).to(targets.device)
        held_out, store = order[:size], order[size:]
        neighbours = self.knn_probabilities(features[held_out], features[store], targets[store])
        own = logits[held_out].softmax(1)
        hits = [((m * neighbours + (1 - m) * own).argmax(1) == targets[held_out]).sum() for m in MIXES]
        return float(MIXES[torch.stack(hits).argmax()])

    def _forward_all(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        worker = self.worker
        indices = torch.from_numpy(self.indices).to(worker.device)
        normalizer = self.normalizer("measurement", 0)
        parts = [
            self._forward(normalizer(worker.train.inputs.index_select(0, some)))
            for some in torch.split(indices, worker.config.evaluate.batch_size)
        ]
        features, logits = (torch.cat(values) for values in zip(*parts, strict=True))
        return features, logits, self.noisy_labels(0)(worker.train.targets[indices])

    @torch.no_grad()
    def _forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features and logits in float64, in evaluation mode."""
        model = as_classifier(self.worker.model.eval())
        return model.features(inputs).double(), model(inputs).double()


def mixed_log_probabilities(mix: float, neighbours: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Return log(mix p + (1 - mix) softmax(logits)), p being `neighbours`, of the same shape.

    Computed in log space, so that very small probabilities do not underflow.
    """
    own = logits.log_softmax(1) + math.log1p(-mix) if mix < 1 else torch.full_like(logits, -math.inf)
    if mix == 0:
        return own
    mixed = torch.logaddexp(neighbours.log() + math.log(mix), own)
    return torch.where(mixed.isneginf(), SMALLEST, mixed)
