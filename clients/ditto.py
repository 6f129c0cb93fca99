"""Ditto (Li et al. 2021, Algorithm 1): a personal model next to the global one, tied to it by a penalty.

arXiv:2012.04221.
"""

from typing import Annotated

from pydantic import Field

from clients.base import Client
from common.errors import UserError
from common.records import Payload, Tensors
from common.sections import NonNegative


class Ditto(Client):
    """Global model by FedAvg; v_i minimises f_i(v) + (lam / 2) ||v - x||^2, x as received this round.

    v_i starts at the initial model and takes ``personal_steps`` steps per round, by default as many as the
    global model takes on the client. lam = 0 is local training.
    """

    lam: Annotated[float, Field(ge=0, le=1e6)] = 0.1
    personal_steps: NonNegative = 0

    def validate(self) -> None:
        """Refuse a step so long that the penalty alone would overshoot."""
        if self.learning_rate * self.lam >= 1:
            raise UserError(
                f"ditto needs optimizer.learning-rate * method.lam < 1, not {self.learning_rate * self.lam:g}"
            )

    def init_state(self) -> Payload:
        """Return v_i: the initial model."""
        return {"personal": self.initial(self.worker.model_state)}

    def correct_gradients(self, params: Tensors, grads: Tensors) -> Tensors:
        """Add lam (v - x) to the gradients of the personal model."""
        if not self.is_personal_phase:
            return grads
        anchor = self.global_params
        return {name: grad + self.lam * (params[name] - anchor[name]) for name, grad in grads.items()}

    def end_round(self, params: Tensors) -> Payload:
        """Train v_i."""
        self.state["personal"] = self.train_personal(self.state["personal"], steps=self.personal_steps)
        return {}

    def personal_model(self) -> Tensors:
        """Return v_i."""
        return self.state["personal"]
