"""EPISODE (arXiv:2302.07155) with remembered gradients; SCAFFOLD with clipping: code of Bao et al. 2024."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch

from clients._initial_control import InitialControl
from clients.local.optimizers import weight_decays
from clients.local.sgd_only import require_own_clipping
from common.norms import norm
from common.parameters import Needs
from common.records import Payload, Tensors
from common.sections import NonNegativeFloat, Value


class EpisodeMem(InitialControl):
    """Corrects every gradient by G - L_i and clips steps to the length lr ``clip_norm``; 0: no clipping.

    L_i is the client's mean gradient, without weight decay, over the last round in which it took part, and G
    the mean of all L_i, so no round needs gradients in advance. ``clip_by = "control"`` clips all steps of a
    round if ||G|| is above ``clip_norm`` (gamma / eta), as EPISODE does; ``"step"`` (and ``"control"`` while
    G is zero) clips each step whose own norm is above it: SCAFFOLD with clipping. Steps and their norms
    include weight decay.
    """

    EXAMPLE: ClassVar[dict[str, Value]] = {"method.clip-norm": 1.0}

    NEEDS: ClassVar[Mapping[str, Needs]] = {"clip_by": Needs("clip_norm")}

    clip_norm: NonNegativeFloat = 0.0
    clip_by: Literal["control", "step"] = "control"

    def validate(self) -> None:
        """Refuse options that would change the length of the steps."""
        require_own_clipping(self.worker.config.optimizer, "episode-mem")

    def init_state(self) -> Payload:
        """Return L_i = 0."""
        return {"control": self.zeros()}

    @property
    def controls_have_decay(self) -> bool:
        """Return False: L_i does not include weight decay."""
        return False

    def begin_round(self) -> None:
        """Prepare G - L_i, and the threshold for clipping; below 0 clips all steps, infinity none."""
        own, mean = self.state["control"], self.received["control"]
        self.correction = {name: mean[name] - own[name] for name in own}
        self._decays = weight_decays(self.worker.optimizer, self.params)
        size = norm(mean)
        by_step = torch.as_tensor(self.clip_norm, dtype=size.dtype, device=size.device)
        by_control = torch.where(size > self.clip_norm, -torch.ones_like(size), torch.inf)
        is_by_step = (size == 0) | (self.clip_by == "step")
        threshold = torch.where(is_by_step, by_step, by_control)
        self.threshold = threshold if self.clip_norm else torch.full_like(size, torch.inf)
        self.total, self.clipped = self.zeros(), torch.zeros_like(size)

    def correct_gradients(self, params: Tensors, grads: Tensors) -> Tensors:
        """Return the gradients with which the optimiser's step, weight decay included, is the clipped one."""
        self.total = {name: self.total[name] + grad for name, grad in grads.items()}
        decays = self._decays
        direction = {
            name: grad + self.correction[name] + decays[name] * params[name] for name, grad in grads.items()
        }
        size = norm(direction)
        clips = size > self.threshold
        self.clipped = self.clipped + clips
        scale = torch.where(clips, self.clip_norm / (1e-10 + size), torch.ones_like(size))
        return {
            name: scale.to(value.dtype) * value - decays[name] * params[name]
            for name, value in direction.items()
        }

    def end_round(self, params: Tensors) -> Payload:
        """Replace L_i; reply with its change, and with the fraction of steps that were clipped."""
        old = self.state["control"]
        self.training_metrics["train_clipped_fraction"] = float(self.clipped) / self.num_steps
        self.state["control"] = new = {name: value / self.num_steps for name, value in self.total.items()}
        return {"control": {name: new[name] - old[name] for name in old}}
