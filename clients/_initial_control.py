"""SCAFFOLD's controls may begin with gradients instead of zeros: the client half."""

from clients.base import Client
from common.records import Sections


class InitialControl(Client):
    """Tells its first control before the first round, if the server asks for it."""

    def prelude(self) -> Sections:
        """Begin with c_i = the mean of as many mini-batch gradients as the round has steps."""
        self.state["control"] = self.mean_gradient(self.step_budget)
        return {"control": self.state["control"]}
