"""FedBABU (Oh, Kim and Yun 2022): a body federated under a frozen random head, then fine-tuned per client.

arXiv:2106.06042.
"""

import functools
from collections.abc import Collection

from clients.base import Client
from common.errors import UserError
from common.records import Tensors
from common.sections import Positive
from models.heads.parts import check_parts, part_names


class FedBABU(Client):
    """Trains the body only; a client's own model is the global one after some epochs on its own data.

    ``fine_tuned_part`` (``models.heads.parts``) and ``fine_tuning_epochs`` say what is trained then, and how
    long.
    """

    fine_tuned_part: str = "head"
    fine_tuning_epochs: Positive = 5

    def validate(self) -> None:
        """Refuse a part that the model does not have."""
        check_parts(self.worker.model, "method.fine-tuned-part", self.fine_tuned_part)
        if not dict(self.worker.model.named_parameters()).keys() & part_names(self.worker.model, "body"):
            name = self.worker.config.model.name
            raise UserError(
                f"'fedbabu' trains the body, and model.name '{name}' is a head alone: take a larger one"
            )

    @functools.cached_property
    def parts(self) -> tuple[Collection[str], Collection[str]]:
        """Return what is trained for the global and for the client's own model."""
        model = self.worker.model
        return part_names(model, "body"), part_names(model, self.fine_tuned_part)

    def trained_names(self) -> Collection[str]:
        """Return the body's parameters; when fine-tuning, those of the part to tune."""
        return self.parts[self.is_personal_phase]

    def personal_model(self) -> Tensors:
        """Return the fine-tuned model."""
        return self.train_personal(self.worker.state, epochs=self.fine_tuning_epochs)
