"""SCAFFOLD's controls may begin with gradients instead of zeros: the client half."""

from clients.base import Client
from clients.local.incoming import Section
from clients.local.optimizers import weight_decays
from common.records import Payload


class InitialControl(Client):
    """Sends its first control before the first round, if the server asks for it."""

    KEEPS = ("control",)

    @property
    def controls_have_decay(self) -> bool:
        """Whether weight decay is in the controls, as in those that are made of a round's steps."""
        return True

    def receives(self) -> dict[str, Section]:
        """Return the mean of the controls."""
        return {"control": Section(self.params)}

    def prelude(self) -> Payload:
        """Begin with c_i = the mean of as many mini-batch gradients as the round has steps.

        With weight decay if the controls of later rounds have it.
        """
        control = self.mean_gradient(self.step_budget)
        if self.controls_have_decay:
            decays = weight_decays(self.worker.optimizer, self.params)
            control = {n: g + decays[n] * self.params[n].detach() for n, g in control.items()}
        self.state["control"] = control
        return {"control": control}
