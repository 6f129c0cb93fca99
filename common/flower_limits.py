"""Limits of the parameters of Flower's strategies, which do not check them themselves."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from common.errors import UserError

# Names that the project's messages use, and metrics that clients do not send: users may not choose them.
FIXED = {"arrayrecord_key", "configrecord_key", "train_loss_key"}
LIMITS: Mapping[str, Any] = {
    "num_malicious_nodes": Annotated[int, Field(ge=0)],
    "num_nodes_to_select": Annotated[int, Field(ge=1)],
    "weighted_by_key": Literal["num-examples", "num-steps"],
    "beta": Annotated[float, Field(ge=0, lt=0.5)],
    "beta_1": Annotated[float, Field(ge=0, lt=1)],
    "beta_2": Annotated[float, Field(ge=0, lt=1)],
    "eta": Annotated[float, Field(gt=0)],
    "eta_l": Annotated[float, Field(gt=0)],
    "tau": Annotated[float, Field(gt=0, le=1e6)],
    "server_learning_rate": Annotated[float, Field(gt=0)],
    "server_momentum": Annotated[float, Field(ge=0, lt=1)],
    "client_learning_rate": Annotated[float, Field(gt=0)],
    "q": Annotated[float, Field(ge=0, le=1000)],
}
# The papers' conditions on the number of replies n with f malicious clients: n >= factor f + 3.
_FACTOR = {"flwr:Krum": 2, "flwr:MultiKrum": 2, "flwr:Bulyan": 4}


def check_cohort(method: str, parameters: Mapping[str, Any], cohort_size: int) -> None:
    """Refuse parameters for which the cohort is too small.

    Krum needs n >= 2 f + 3 replies for f malicious clients (Blanchard et al., NeurIPS 2017), Bulyan
    n >= 4 f + 3 (El Mhamdi et al., ICML 2018). Flower's Krum does not need this if f = 0, its Bulyan
    does.

    Raises
    ------
    UserError
        One line that names the parameter and the cohort.
    """
    malicious, selected = parameters.get("num_malicious_nodes", 0), parameters.get("num_nodes_to_select", 1)
    cohort = f"clients.count and clients.fraction make cohorts of {cohort_size}"
    needed = _FACTOR.get(method, 0) * malicious + 3
    if (malicious or method == "flwr:Bulyan") and cohort_size < needed:
        raise UserError(
            f"method.num-malicious-nodes = {malicious} of '{method}' needs {needed} clients or more: {cohort}"
        )
    if selected > cohort_size - malicious:
        raise UserError(
            f"method.num-nodes-to-select = {selected} of '{method}' is more than there are honest clients:"
            f" {cohort}, {malicious} of them malicious"
        )
