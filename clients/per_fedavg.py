"""Per-FedAvg (Fallah, Mokhtari and Ozdaglar 2020, Algorithm 1): an initialisation to adapt in one step.

arXiv:2002.07948.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from clients.base import Client
from common.parameters import Needs
from common.records import Tensors
from common.sections import NonNegativeFloat
from models.measures.evaluation import evaluation_mode


class PerFedAvg(Client):
    """Minimises the mean of f_i(w - a grad f_i(w)), with a = ``inner_learning_rate`` and learning rate b.

    A step draws independent batches D, D', D'': w~ = w - a g(w; D), G = g(w~; D'). ``first-order``:
    w <- w - b G. ``hessian-free``: w <- w - b (G - a h) with h = (g(w + delta G; D'') - g(w - delta G; D''))
    / (2 delta), the Hessian times G. The budget counts the batches D.
    """

    NEEDS: ClassVar[Mapping[str, Needs]] = {"delta": Needs("variant", ("hessian-free",))}

    inner_learning_rate: NonNegativeFloat = 0.01
    variant: Literal["first-order", "hessian-free"] = "first-order"
    delta: Annotated[float, Field(gt=0)] = 1e-3

    def begin_round(self) -> None:
        """Prepare the batches D' and D''."""
        self.batches = self.extra_batches()

    def correct_gradients(self, params: Tensors, grads: Tensors) -> Tensors:
        """Return the gradient of the meta-objective."""
        a, delta = self.inner_learning_rate, self.delta
        outer = self.gradient_at({n: params[n] - a * grad for n, grad in grads.items()}, next(self.batches))
        if self.variant == "first-order":
            return outer
        batch = next(self.batches)
        with evaluation_mode(self.worker.model):  # different dropout masks would outweigh delta
            ahead = self.gradient_at({n: params[n] + delta * g for n, g in outer.items()}, batch)
            behind = self.gradient_at({n: params[n] - delta * g for n, g in outer.items()}, batch)
        return {n: g - a * (ahead[n] - behind[n]) / (2 * delta) for n, g in outer.items()}

    def personal_model(self) -> Tensors:
        """Return w - a grad f_i(w), the gradient over all local data."""
        gradient = self.full_gradient()
        return {n: self.params[n].detach() - self.inner_learning_rate * g for n, g in gradient.items()}
