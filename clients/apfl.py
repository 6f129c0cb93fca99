"""APFL (Deng, Kamani and Mahdavi 2020, arXiv:2003.13461, Algorithm 1): mixes a local and the global model."""

from typing import Annotated, ClassVar

import torch
from pydantic import Field

from clients.base import Client
from clients.local.optimizers import make_optimizer, set_learning_rate
from common.records import Payload, Tensors
from common.sections import Value


class APFL(Client):
    """Trains v_i so that alpha_i v_i + (1 - alpha_i) w_i predicts well, while w_i makes FedAvg's steps.

    In every step v_i follows the gradient of f_i(alpha_i v_i + (1 - alpha_i) w_i) on the same mini-batch as
    w_i, with a separate optimiser of the same kind, which is reset in every round. With ``adaptive`` alpha_i
    takes a gradient step on its own derivative, <grad f_i, v_i - w_i>, in a round's first local step, clipped
    to [0, 1]; the authors' code adds 0.02 alpha_i to the derivative. v_i starts at the initial model.
    alpha = 0 without ``adaptive`` is FedAvg; the paper weighs clients equally (``weighting = "uniform"``).
    ``optimizer.clip-norm`` clips w_i's gradient only. BatchNorm's running statistics of the mixture are the
    client's own.
    """

    EXAMPLE: ClassVar[dict[str, Value]] = {"model.name": "mlp"}

    AFTER_STEP_IS_ELEMENTWISE = True

    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    adaptive: bool = True

    def init_state(self) -> Payload:
        """Return v_i with the mixture's BatchNorm statistics, and alpha_i."""
        mixing = torch.tensor(self.alpha, dtype=torch.float64, device=self.worker.device)
        own = self.initial([*self.params, *self.worker.buffers])
        return {"personal": own, "mixing": {"alpha": mixing}}

    def begin_round(self) -> None:
        """Make v_i trainable."""
        self.own_alpha = self.state["mixing"]["alpha"].clone()
        kept = {name: value.clone() for name, value in self.state["personal"].items()}
        self.personal = {name: kept.pop(name).requires_grad_() for name in self.params}
        self.statistics = kept
        self.personal_optimizer = make_optimizer(self.personal.values(), self.worker.config.optimizer)

    def correct_gradients(self, params: Tensors, grads: Tensors) -> Tensors:
        """Compute v_i's gradient and step alpha_i, before w_i takes its step."""
        mixture = mixed(self.personal, params, self.own_alpha)
        gradient = self.gradient_at(mixture, self.batch, self.statistics)
        self.personal_gradient = {name: self.own_alpha * value for name, value in gradient.items()}
        if self.adaptive and self.num_steps == 0:
            slopes = [(g * (self.personal[n].detach() - params[n])).sum() for n, g in gradient.items()]
            slope = torch.stack(slopes).double().sum()
            self.own_alpha = (self.own_alpha - self.step_rate * slope).clamp(0, 1)
        return grads

    def after_step(self, params: Tensors) -> None:
        """Step v_i."""
        for name, value in self.personal.items():
            value.grad = self.personal_gradient[name]
        set_learning_rate(self.personal_optimizer, self.step_rate)
        self.personal_optimizer.step()

    def end_round(self, params: Tensors) -> Payload:
        """Keep v_i and alpha_i."""
        self.state["mixing"] = {"alpha": self.own_alpha}
        own = {name: value.detach() for name, value in self.personal.items()}
        self.state["personal"] = own | self.statistics
        return {}

    def personal_model(self) -> Tensors:
        """Return the mixture of v_i and the global model."""
        shared = {name: value.detach() for name, value in self.params.items()}
        own = self.state["personal"]
        return own | mixed(own, shared, self.state["mixing"]["alpha"])


def mixed(personal: Tensors, shared: Tensors, alpha: torch.Tensor) -> Tensors:
    """Return alpha v + (1 - alpha) w, for the entries of w."""
    return {name: alpha * personal[name].detach() + (1 - alpha) * value for name, value in shared.items()}
