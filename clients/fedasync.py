"""FedAsync's client half (Xie, Koyejo and Gupta 2019): SGD with a proximal term towards where it began.

arXiv:1903.03934.
"""

from typing import Annotated

from pydantic import Field

from clients.fedprox import FedProx


class FedAsync(FedProx):
    """FedProx around the version of the model that the client has begun with; mu is rho in the paper."""

    mu: Annotated[float, Field(ge=0)] = 0.005
