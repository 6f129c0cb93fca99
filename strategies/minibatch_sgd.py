"""Minibatch SGD's server half (Woodworth et al. 2020), with the clipping of Bao, Crawshaw and Liu (2024).

arXiv:2002.07839.
"""

from common.norms import norm
from common.records import ARRAYS, Payload, Tensors
from common.sections import NonNegativeFloat
from strategies._equal_clients import EqualClients


class MinibatchSgd(EqualClients):
    """x <- x - lr d, where d is the mean over clients of their mean gradient, weight decay included.

    If ||d|| is above ``clip_norm`` (gamma / eta of the paper; 0: no clipping), the step has length
    lr clip_norm.
    """

    SECTIONS = frozenset({ARRAYS})

    clip_norm: NonNegativeFloat = 0.0

    def measures_changes(self) -> bool:
        """Return True: the mean change is clipped."""
        return self.clip_norm > 0

    def outer_step(self, averages: Payload, server_round: int) -> Tensors:
        """Clip the mean of the clients' steps."""
        change = self.mean_change(averages)
        length = float(norm(change))
        longest = self.learning_rate * self.clip_norm
        if longest == 0 or length <= longest:
            return averages[ARRAYS]
        return self.stepped(averages, {name: longest / length * value for name, value in change.items()})
