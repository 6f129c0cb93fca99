"""SCAFFOLD's client half (Karimireddy et al. 2020, arXiv:1910.06378, Algorithm 1)."""

from typing import Literal

from clients._initial_control import InitialControl
from common.records import Payload, Tensors


class Scaffold(InitialControl):
    """Corrects every gradient by c - c_i; controls start at zero, and absent clients keep theirs.

    ``option`` 2: c_i+ = c_i - c + (x - y) / (lr ||a||_1), where ||a||_1 is the number of steps without
    momentum; 1: the gradient at x over all local data, in evaluation mode.
    """

    option: Literal[1, 2] = 2

    def assumes_sgd(self) -> bool:
        """Return True for option 2, whose controls are computed from the steps."""
        return self.option == 2

    @property
    def controls_have_decay(self) -> bool:
        """Whether it is option 2; the controls of option 1 are gradients of the loss."""
        return self.option == 2

    def init_state(self) -> Payload:
        """Return c_i = 0."""
        return {"control": self.zeros()}

    def begin_round(self) -> None:
        """Prepare c - c_i and, for option 1, the gradient at x."""
        own, server = self.state["control"], self.received["control"]
        self.correction = {name: server[name] - own[name] for name in own}
        self.gradient = self.full_gradient() if self.option == 1 else {}

    def correct_gradients(self, params: Tensors, grads: Tensors) -> Tensors:
        """Return g - c_i + c."""
        return {name: grad + self.correction[name] for name, grad in grads.items()}

    def end_round(self, params: Tensors) -> Payload:
        """Update c_i and reply with its change."""
        old = self.state["control"]
        self.state["control"] = new = self.gradient or self.gradient_of_steps(self.correction) or old
        return {"control": {name: new[name] - old[name] for name in old}}
