"""FedAsync's client half (Xie, Koyejo and Gupta 2019): SGD with a proximal term around its start.

arXiv:1903.03934.
"""

from typing import Annotated, ClassVar

from pydantic import Field

from clients.fedprox import FedProx
from common.sections import Value


class FedAsync(FedProx):
    """FedProx around the model version with which the client started; mu is rho in the paper."""

    EXAMPLE: ClassVar[dict[str, Value]] = {
        "clock.spread": 0.5,
    }

    mu: Annotated[float, Field(ge=0, le=1e6)] = 0.005
