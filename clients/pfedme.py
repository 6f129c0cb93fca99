"""pFedMe's client half (T. Dinh, Tran and Nguyen 2020, arXiv:2006.08848, Algorithm 1): Moreau envelopes."""

from typing import Annotated, ClassVar

from pydantic import Field

from clients.base import Client
from clients.local.optimizers import weight_decays
from clients.local.sgd_only import require_clipped_decay
from common.errors import UserError
from common.records import Payload, Tensors
from common.sections import Positive, Value


class PFedMe(Client):
    """Each step finds theta ~ argmin f_i + (lam / 2) ||theta - w||^2 and moves w by lr lam (theta - w).

    theta takes ``personal_steps`` gradient steps from w at ``personal_learning_rate``, on one mini-batch. The
    client predicts with the last theta; before it has taken part, with the initial model. Weight decay is
    part of f_i, as in the paper: it acts on theta. That of ``adamw`` and ``lamb`` is none of a loss and is
    refused.
    """

    EXAMPLE: ClassVar[dict[str, Value]] = {"model.name": "mlp", "method.personal-steps": 2}

    lam: Annotated[float, Field(gt=0)] = 15.0
    personal_steps: Positive = 5
    personal_learning_rate: Annotated[float, Field(gt=0)] = 0.01

    def validate(self) -> None:
        """Refuse steps so long that the penalty alone would diverge, and decay that is no part of f_i."""
        rates = {
            "optimizer.learning-rate": self.learning_rate,
            "method.personal-learning-rate": self.personal_learning_rate,
        }
        for key, rate in rates.items():
            if rate * self.lam >= 2:
                raise UserError(f"pfedme needs {key} * method.lam < 2, not {rate * self.lam:g}: lower either")
        optimizer = self.worker.config.optimizer
        if optimizer.name not in ("sgd", "lars") and any(self._weight_decays().values()):
            raise UserError(
                "pfedme's weight decay is part of the clients' losses, which that of optimizer.name"
                f" '{optimizer.name}' is not: set optimizer.weight-decay to 0, or optimizer.name to 'sgd'"
            )
        require_clipped_decay(self.worker, "pfedme")

    def init_state(self) -> Payload:
        """Return the initial model as theta."""
        return {"personal": self.initial(self.worker.model_state)}

    def begin_round(self) -> None:
        """Look up the weight decay."""
        self._decays = self._weight_decays()

    def _weight_decays(self) -> dict[str, float]:
        return weight_decays(self.worker.optimizer, self.params)

    def correct_gradients(self, params: Tensors, grads: Tensors) -> Tensors:
        """Return lam (w - theta), the gradient of the Moreau envelope, less what the optimiser adds."""
        start = {name: value.detach().clone() for name, value in params.items()}
        theta, rate, decays = start, self.personal_learning_rate, self._decays
        for step in range(self.personal_steps):
            gradient = self.gradient_at(theta, self.batch) if step else grads
            theta = {
                name: value
                - rate * (gradient[name] + decays[name] * value + self.lam * (value - start[name]))
                for name, value in theta.items()
            }
        self.theta = theta
        return {n: self.lam * (start[n] - value) - decays[n] * start[n] for n, value in theta.items()}

    def end_round(self, params: Tensors) -> Payload:
        """Keep theta, with the buffers of the trained model."""
        buffers = {name: value.detach().clone() for name, value in self.worker.buffers.items()}
        self.state["personal"] = {**self.theta, **buffers}
        return {}

    def personal_model(self) -> Tensors:
        """Return theta."""
        return self.state["personal"]
