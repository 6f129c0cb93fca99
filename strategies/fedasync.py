"""FedAsync's server half (Xie, Koyejo and Gupta 2019, arXiv:1903.03934, Algorithm 1)."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from flwr.app import Message
from pydantic import Field

from common.records import ARRAYS, Payload, Tensors
from strategies._asynchronous import Asynchronous


class FedAsync(Asynchronous):
    """x <- (1 - a s(d)) x + a s(d) y on each arrival of a y that is d versions old; ``mixing`` is a."""

    TRANSIENT = ("_stale",)

    UNUSED: ClassVar[Mapping[str, str]] = {"method.weighting": "whose updates have one client each"}

    weighting = "uniform"
    mixing: Annotated[float, Field(gt=0, le=1)] = 0.6

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self._stale = 0

    def before_reply(self, reply: Message) -> None:
        """Look up the staleness of the model from which the client started."""
        self._stale = self.staleness_of(reply)

    def update(self, averages: Payload, server_round: int) -> Tensors:
        """Mix the round's single reply into the model; counters are the reply's."""
        share, old = self.mixing * self.discount(self._stale), self.global_model
        return {
            name: (1 - share) * old[name].double() + share * new if new.is_floating_point() else new
            for name, new in averages[ARRAYS].items()
        }
