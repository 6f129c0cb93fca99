"""What the server halves of methods with a frozen head share."""

from common.records import ARRAYS, Payload
from models.heads.realignment import HEAD
from strategies.fedavg import FedAvg


class FixedHead(FedAvg):
    """Averages everything but the model's head, which stays as the server has made it."""

    @property
    def trains_head(self) -> bool:
        """Whether the model's own head is averaged like the rest."""
        return False

    def prepare(self, sections: Payload) -> Payload:
        """Leave out the head, so that it is the same to the last bit in all rounds."""
        if self.trains_head:
            return sections
        model = {name: value for name, value in sections[ARRAYS].items() if not name.startswith(HEAD)}
        return {**sections, ARRAYS: model}
