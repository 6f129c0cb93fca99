"""HeteroProx's client half: FedProx on the client's sub-model (Chan et al., ICLR 2024, section 5.1).

arXiv:2308.11464.
"""

from typing import Annotated

from pydantic import Field

from clients.fedprox import FedProx


class HeteroProx(FedProx):
    """FedProx with mu / 2 = 0.05; the proximal term covers only the entries that the client holds."""

    mu: Annotated[float, Field(ge=0, le=1e6)] = 0.1
