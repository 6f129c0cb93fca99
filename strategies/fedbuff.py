"""FedBuff (Nguyen et al. 2022, Algorithm 1): updates from a buffer of changes to several model versions.

arXiv:2106.06639.
"""

from typing import Annotated, ClassVar, Literal

from flwr.app import Message
from pydantic import Field

from common.records import ARRAYS, Payload, Tensors
from common.sections import NonNegative, Value
from strategies._asynchronous import Asynchronous


class FedBuff(Asynchronous):
    """v <- beta v + 1 / Q sum_i s(d_i) (y_i - x_i); x <- x + lr_s v.

    y_i started from the version x_i, which is d_i versions old. ``momentum`` is beta, 0 in Algorithm 1.
    BatchNorm's running statistics have no momentum, and lr_s = 1. Q is ``buffer_size``; 0: 10, or fewer if
    fewer clients work concurrently. With ``weighting = "examples"`` clients weigh n_i / sum_j n_j instead of
    1 / Q.
    """

    TRANSIENT = ("_start_model", "_discount")

    EXAMPLE: ClassVar[dict[str, Value]] = {
        "method.buffer-size": 3,
        "clock.spread": 0.5,
        "clock.jitter": 0.5,
    }

    buffer_size: NonNegative = 0
    server_learning_rate: Annotated[float, Field(gt=0)] = 1.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weighting: Literal["examples", "uniform"] = "uniform"

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self._start_model: Tensors = {}
        self._discount = 1.0
        self.velocity: Tensors = {}

    def measures_changes(self) -> bool:
        """Return True: changes are averaged, and older ones discounted."""
        return True

    def arrivals(self, concurrency: int) -> int:
        """Return Q."""
        return self.buffer_size or min(10, concurrency)

    def before_reply(self, reply: Message) -> None:
        """Look up the model from which the client started."""
        self._start_model, self._discount = self.start_of(reply), self.discount(self.staleness_of(reply))

    def transform_reply(self, sections: Payload) -> Payload:
        """Return the discounted change in float64; counters are the reply's."""
        start = self._start_model
        changes = {
            name: self._discount * (value.double() - start[name]) if value.is_floating_point() else value
            for name, value in sections[ARRAYS].items()
        }
        return {ARRAYS: changes}

    def update(self, averages: Payload, server_round: int) -> Tensors:
        """Step along the mean change, or the velocity; BatchNorm variances are kept at least 0."""
        stepped = {}
        for name, value in (averages[ARRAYS] | self._moved(averages[ARRAYS])).items():
            stepped[name] = value
            if value.is_floating_point():
                old = self.global_model[name]
                new = old + (self.server_learning_rate if name in self.parameter_names else 1.0) * value
                stepped[name] = (new.clamp(min=0) if name.endswith("running_var") else new).to(old.dtype)
        return stepped

    def _moved(self, change: Tensors) -> Tensors:
        """Return the velocity of the trainable entries; empty without momentum."""
        if self.momentum:
            self.velocity = {
                name: self.momentum * self.velocity.get(name, 0) + change[name]
                for name in self.parameter_names
            }
        return self.velocity
