"""How far the global model moves in each round."""

from common.norms import norm
from common.records import to_tensors
from server.observers._observer import Observer, Round, change_of


class UpdateNorm(Observer):
    """Adds the column ``update_norm``: the l2 norm of the change of all floating-point entries sent.

    0 where clients keep the whole model.
    """

    def on_train(self, current: Round) -> None:
        """Measure the change; a round without a model has none."""
        before = to_tensors(current.start)
        after = to_tensors({name: current.arrays[name] for name in before})
        current.row["update_norm"] = float(norm(change_of(after, before)))
