"""FedBABU (Oh, Kim and Yun 2022): a body federated under a frozen random head, then fine-tuned per client.

arXiv:2106.06042.
"""

import functools
from collections.abc import Collection

from clients.base import Client
from common.errors import UserError
from common.rates import base_rate
from common.records import Tensors
from common.sections import Positive
from models.heads.parts import check_parts, part_names


class FedBABU(Client):
    """Trains the body only; a client's personal model is the global one, fine-tuned on the client's data.

    ``fine_tuned_part`` (``models.heads.parts``) is fine-tuned for ``fine_tuning_epochs``, at
    ``optimizer.learning-rate`` whatever the schedule, which may end near 0.
    """

    fine_tuned_part: str = "head"
    fine_tuning_epochs: Positive = 5

    def validate(self) -> None:
        """Refuse a part that the model does not have."""
        check_parts(self.worker.model, "method.fine-tuned-part", self.fine_tuned_part)
        if not dict(self.worker.model.named_parameters()).keys() & part_names(self.worker.model, "body"):
            name = self.worker.config.model.name
            raise UserError(
                f"'fedbabu' trains the body, but model.name '{name}' is only a head: choose a larger model"
            )

    @functools.cached_property
    def parts(self) -> tuple[Collection[str], Collection[str]]:
        """Return the parameters that are trained for the global model, and those that are fine-tuned."""
        model = self.worker.model
        return part_names(model, "body"), part_names(model, self.fine_tuned_part)

    def trained_names(self) -> Collection[str]:
        """Return the body's parameters; when fine-tuning, those of the part to tune."""
        return self.parts[self.is_personal_phase]

    def personal_model(self) -> Tensors:
        """Return the fine-tuned model."""
        rate = base_rate(self.worker.config)
        return self.train_personal(self.worker.model_state, rate, epochs=self.fine_tuning_epochs)
