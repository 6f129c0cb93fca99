"""EPISODE's client half (Crawshaw, Bao and Liu 2023, arXiv:2302.07155, Algorithm 1)."""

from typing import ClassVar

from clients.base import Client
from clients.local.incoming import Section
from clients.local.optimizers import weight_decays
from clients.local.sgd_only import require_own_clipping
from common.norms import norm
from common.records import Payload, Tensors
from common.sections import NonNegative, NonNegativeFloat, Value


class Episode(Client):
    """Corrects every gradient by G - L_i, and clips either all steps of a round or none, depending on ||G||.

    L_i is the client's gradient at the global model on fresh mini-batches, G its mean over the cohort. If
    ||G|| is above ``clip_norm`` (gamma / eta of the paper), every step has length lr clip_norm. Steps include
    weight decay, L_i and G do not. L_i is computed on ``gradient_batches`` mini-batches; 0: as many as the
    round has steps, which the code of Bao et al. (2024) intends, though it uses 1.
    """

    EXAMPLE: ClassVar[dict[str, Value]] = {"method.clip-norm": 1.0, "method.gradient-batches": 1}

    clip_norm: NonNegativeFloat = 0.0
    gradient_batches: NonNegative = 0

    def validate(self) -> None:
        """Refuse options that would change the length of the steps."""
        require_own_clipping(self.worker.config.optimizer, "episode")

    def init_state(self) -> Payload:
        """Return a gradient of 0, until the server has asked for it."""
        return {"gradient": self.zeros()}

    def prelude(self) -> Payload:
        """Return L_i."""
        self.state["gradient"] = self.mean_gradient(self.gradient_batches or self.step_budget)
        return {"gradient": self.state["gradient"]}

    def receives(self) -> dict[str, Section]:
        """Return the form of G."""
        return {"gradient": Section(self.params)}

    def begin_round(self) -> None:
        """Prepare G - L_i, and decide whether steps are clipped."""
        own, mean = self.state["gradient"], self.received["gradient"]
        self.correction = {name: mean[name] - own[name] for name in own}
        self._decays = weight_decays(self.worker.optimizer, self.params)
        self.clips = 0 < self.clip_norm < float(norm(mean))

    def correct_gradients(self, params: Tensors, grads: Tensors) -> Tensors:
        """Return the gradients with which the optimiser's step, weight decay included, is the clipped one."""
        corrected = {name: grad + self.correction[name] for name, grad in grads.items()}
        if not self.clips:
            return corrected
        decays = self._decays
        direction = {name: grad + decays[name] * params[name] for name, grad in corrected.items()}
        scale = self.clip_norm / (1e-10 + norm(direction))
        return {name: scale * value - decays[name] * params[name] for name, value in direction.items()}

    def end_round(self, params: Tensors) -> Payload:
        """Report whether the steps were clipped."""
        self.training_metrics["train_clipped_fraction"] = float(self.clips)
        return {}
