"""pFedMe's client half (T. Dinh, Tran and Nguyen 2020, arXiv:2006.08848, Algorithm 1): Moreau envelopes."""

from typing import Annotated, ClassVar

from pydantic import Field

from clients.base import Client
from common.errors import UserError
from common.records import Payload, Tensors
from common.sections import Positive, Value


class PFedMe(Client):
    """Each step finds theta ~ argmin f_i + (lam / 2) ||theta - w||^2 and moves w by lr lam (theta - w).

    theta takes ``personal_steps`` gradient steps from w at ``personal_learning_rate``, on one mini-batch. The
    client predicts with the last theta; before it has taken part, with the initial model.
    """

    EXAMPLE: ClassVar[dict[str, Value]] = {"model.name": "mlp", "method.personal-steps": 2}

    KEEPS = ("personal",)

    lam: Annotated[float, Field(gt=0)] = 15.0
    personal_steps: Positive = 5
    personal_learning_rate: Annotated[float, Field(gt=0)] = 0.01

    def validate(self) -> None:
        """Refuse steps so long that the penalty alone would diverge."""
        rates = {
            "optimizer.learning-rate": self.learning_rate,
            "method.personal-learning-rate": self.personal_learning_rate,
        }
        for key, rate in rates.items():
            if rate * self.lam >= 2:
                raise UserError(f"pfedme needs {key} * method.lam < 2, not {rate * self.lam:g}: lower either")

    def init_state(self) -> Payload:
        """Return the initial model as theta."""
        return {"personal": self.initial(self.worker.state)}

    def correct_gradients(self, params: Tensors, grads: Tensors) -> Tensors:
        """Return lam (w - theta), the gradient of the Moreau envelope."""
        start = {name: value.detach().clone() for name, value in params.items()}
        theta, rate = start, self.personal_learning_rate
        for step in range(self.personal_steps):
            gradient = self.gradient_at(theta, self.batch) if step else grads
            theta = {
                name: value - rate * (gradient[name] + self.lam * (value - start[name]))
                for name, value in theta.items()
            }
        self.theta = theta
        return {name: self.lam * (start[name] - value) for name, value in theta.items()}

    def end_round(self, params: Tensors) -> Payload:
        """Keep theta, with the buffers of the trained model."""
        buffers = {name: value.detach().clone() for name, value in self.worker.buffers.items()}
        self.state["personal"] = {**self.theta, **buffers}
        return {}

    def personal_model(self) -> Tensors:
        """Return theta."""
        return self.state["personal"]
