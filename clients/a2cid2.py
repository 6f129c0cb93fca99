"""A2CiD2's client half (Nabli, Belilovsky and Oyallon 2023, arXiv:2306.08289): a client's local SGD."""

from typing import ClassVar, Literal

from clients.localsgd import LocalSGD
from common.sections import Value


class A2CiD2(LocalSGD):
    """Local steps from the model with which the client started its job.

    ``momentum`` says whether the optimiser's state is kept or reset. With momentum, it is the optimiser's
    updates that are added to x and x~.
    """

    EXAMPLE: ClassVar[dict[str, Value]] = {
        "model.name": "mlp",
        "clients.count": 4,
        "clients.fraction": 1.0,
    }

    RECEIVES_OWN_MODEL = True

    momentum: Literal["keep", "reset"] = "keep"
