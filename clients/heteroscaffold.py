"""HeteroSCAFFOLD's client half: SCAFFOLD on the client's sub-model, in the form of NIID-Bench.

arXiv:2308.11464.
"""

from clients.scaffold import Scaffold
from common.records import Tensors


class HeteroScaffold(Scaffold):
    """Each optimiser step is followed by w <- w - lr (c - c_i); K lr counts as the work done.

    So it works with any optimiser, as in NIID-Bench. With Adam or momentum, a unit gradient does not move the
    weights by lr, so the controls estimate gradients only in that optimiser's units.
    """

    NEEDS_ONE_RATE = True
    AFTER_STEP_IS_ELEMENTWISE = True

    def assumes_sgd(self) -> bool:
        """Return False: the correction does not pass through the optimiser."""
        return False

    def correct_gradients(self, params: Tensors, grads: Tensors) -> Tensors:
        """Return the gradients unchanged."""
        return grads

    def after_step(self, params: Tensors) -> None:
        """Subtract lr (c - c_i)."""
        for name, correction in self.correction.items():
            params[name].data.sub_(correction, alpha=self.learning_rate)

    @property
    def step_weight_norm(self) -> float:
        """The number of steps."""
        return float(self.num_steps)
