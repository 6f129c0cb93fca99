"""Client half of initialising SCAFFOLD's control variates with gradients instead of zeros."""

from clients.base import Client
from clients.local.incoming import Section
from clients.local.optimizers import weight_decays
from common.records import Payload


class InitialControl(Client):
    """Sends its initial control variate before the first round, if the server asks for it."""

    @property
    def controls_have_decay(self) -> bool:
        """Whether the controls include weight decay, as those computed from a round's steps do."""
        return True

    def receives(self) -> dict[str, Section]:
        """Return the form of the mean of the controls."""
        return {"control": Section(self.params)}

    def prelude(self) -> Payload:
        """Set c_i to the mean of as many mini-batch gradients as the round has steps.

        Includes weight decay if the controls of later rounds do.
        """
        control = self.mean_gradient(self.step_budget)
        if self.controls_have_decay:
            decays = weight_decays(self.worker.optimizer, self.params)
            control = {n: g + decays[n] * self.params[n].detach() for n, g in control.items()}
        self.state["control"] = control
        return {"control": control}
