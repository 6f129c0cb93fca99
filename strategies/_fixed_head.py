"""Shared by the server halves of methods with a frozen head."""

from common.records import ARRAYS, Payload
from models.heads.realignment import HEAD
from strategies.fedavg import FedAvg


class FixedHead(FedAvg):
    """Averages everything but the model's head, which stays as the server created it."""

    @property
    def trains_head(self) -> bool:
        """Whether the model's own head is averaged like the rest."""
        return False

    def transform_reply(self, sections: Payload) -> Payload:
        """Leave out the head, so that its bits are the same in all rounds."""
        if self.trains_head:
            return sections
        model = {name: value for name, value in sections[ARRAYS].items() if not name.startswith(HEAD)}
        return {**sections, ARRAYS: model}
