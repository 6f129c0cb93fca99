"""SCAFFOLD's controls may begin with gradients instead of zeros: the client half."""

from clients.base import Client
from clients.local.incoming import Section
from clients.local.optimizers import weight_decays
from common.records import Payload


class InitialControl(Client):
    """Sends its first control before the first round, if the server asks for it."""

    KEEPS = ("control",)

    def receives(self) -> dict[str, Section]:
        """Return the mean of the controls."""
        return {"control": Section(self.params)}

    def prelude(self) -> Payload:
        """Begin with c_i = the mean of as many mini-batch gradients as the round has steps.

        With weight decay, as the controls of later rounds, which are made of steps.
        """
        decays = weight_decays(self.worker.optimizer, self.params)
        self.state["control"] = {
            name: gradient + decays[name] * self.params[name].detach()
            for name, gradient in self.mean_gradient(self.step_budget).items()
        }
        return {"control": self.state["control"]}
