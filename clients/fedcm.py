"""FedCM's client half (Xu et al. 2021, arXiv:2106.10874, Algorithm 2)."""

from typing import Annotated, ClassVar

from pydantic import Field

from clients.base import Client
from clients.local.incoming import Section
from clients.local.optimizers import weight_decays
from clients.local.sgd_only import require_clipped_decay, require_no_momentum
from common.records import Tensors
from common.sections import Value


class FedCM(Client):
    """Steps along alpha g + (1 - alpha) Delta, Delta being the server's momentum; alpha = 1 is FedAvg.

    g includes weight decay. Delta, which is computed from steps, does so too: added to the direction as a
    whole, the decay would end up 1 / alpha times as strong.
    """

    EXAMPLE: ClassVar[dict[str, Value]] = {"model.name": "mlp"}

    alpha: Annotated[float, Field(gt=0, le=1)] = 0.1

    def validate(self) -> None:
        """Refuse client momentum, and weight decay that is added after clipping."""
        require_no_momentum(self.worker.config.optimizer, "fedcm")
        require_clipped_decay(self.worker, "fedcm")

    def receives(self) -> dict[str, Section]:
        """Return the form of Delta."""
        return {"momentum": Section(self.params)}

    def begin_round(self) -> None:
        """Look up the weight decay, which the optimiser adds to every step."""
        self._decays = weight_decays(self.worker.optimizer, self.params)

    def correct_gradients(self, params: Tensors, grads: Tensors) -> Tensors:
        """Return what makes the optimiser's step, weight decay included, the mixed direction."""
        momentum, decays = self.received["momentum"], self._decays
        return {
            name: self.alpha * grad + (1 - self.alpha) * (momentum[name] - decays[name] * params[name])
            for name, grad in grads.items()
        }
