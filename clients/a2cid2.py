"""A2CiD2's client half (Nabli, Belilovsky and Oyallon 2023, arXiv:2306.08289): SGD of a worker's own."""

from typing import ClassVar, Literal

from clients.localsgd import LocalSGD
from common.sections import Value


class A2CiD2(LocalSGD):
    """Local steps from the model that the worker began with.

    ``momentum`` says whether the optimiser's state is kept or reset. With momentum, what the optimiser makes
    of the gradients is what is added to x and x~.
    """

    EXAMPLE: ClassVar[dict[str, Value]] = {
        "model.name": "mlp",
        "clients.count": 4,
        "clients.fraction": 1.0,
    }

    IS_SENT_ITS_OWN = True

    momentum: Literal["keep", "reset"] = "keep"
