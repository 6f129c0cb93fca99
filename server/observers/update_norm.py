"""How far the global model moves in each round."""

import torch

from common.records import to_tensors
from server.observers._observer import Observer, Round


class UpdateNorm(Observer):
    """Adds the column ``update_norm``: the l2 norm of the change of all floating-point entries sent.

    0 where clients keep the whole model.
    """

    def on_train(self, current: Round) -> None:
        """Measure the change; a round without a model has none."""
        before = to_tensors(current.start)
        after = to_tensors({name: current.arrays[name] for name in before})
        changes = [
            (after[name].double() - value.double()).flatten()
            for name, value in before.items()
            if value.is_floating_point()
        ]
        current.row["update_norm"] = float(
            torch.linalg.vector_norm(torch.cat([torch.zeros(0).double(), *changes]))
        )
