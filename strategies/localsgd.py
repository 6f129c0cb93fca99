"""Local SGD's server half: the mean of the clients' models, and outer optimisers.

arXiv:1905.03817, arXiv:1808.07217.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from common.parameters import Needs
from common.records import Payload, Tensors
from strategies._equal_clients import EqualClients
from strategies.fedadam import FedAdam
from strategies.fedavg import FedAvg
from strategies.fedavgm import FedAvgM


class LocalSGD(EqualClients):
    """Local SGD (Yu et al. 2019; Lin, Stich et al. 2020), with an outer optimiser if one is named.

    It treats Delta = mean_k y_k - x as a step: ``momentum`` as in FedAvgM, ``nesterov`` as in DiLoCo
    (Douillard et al. 2023, rate 0.7, momentum 0.9), ``adam`` as in FedAdam (Reddi et al. 2021, beta1 being
    ``outer_momentum``).
    """

    NEEDS: ClassVar[Mapping[str, Needs]] = {
        "outer_learning_rate": Needs("outer_optimizer", ("momentum", "nesterov", "adam")),
        "outer_momentum": Needs("outer_optimizer", ("momentum", "nesterov", "adam")),
        "outer_beta2": Needs("outer_optimizer", ("adam",)),
        "outer_tau": Needs("outer_optimizer", ("adam",)),
    }

    outer_optimizer: Literal["none", "momentum", "nesterov", "adam"] = "none"
    outer_learning_rate: Annotated[float, Field(gt=0)] = 1.0
    outer_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    outer_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.99
    outer_tau: Annotated[float, Field(gt=0, le=1e6)] = 1e-3

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self.outer_state: dict[str, Tensors] = {}

    def measures_changes(self) -> bool:
        """Return True if there is an outer optimiser, which steps by changes."""
        return self.outer_optimizer != "none"

    def outer_step(self, averages: Payload, server_round: int) -> Tensors:
        """Step by the outer optimiser."""
        if self.outer_optimizer == "none":
            return super().outer_step(averages, server_round)
        outer = self._outer()
        outer.global_model, outer.parameter_names = self.global_model, self.parameter_names
        vars(outer).update(self.outer_state)
        model = outer.update(averages, server_round)
        names = ("velocity", "first_moment", "second_moment")
        self.outer_state = {name: vars(outer)[name] for name in names if name in vars(outer)}
        return model

    def _outer(self) -> FedAvg:
        rate, momentum = self.outer_learning_rate, self.outer_momentum
        if self.outer_optimizer == "adam":
            return FedAdam(
                server_learning_rate=rate, beta1=momentum, beta2=self.outer_beta2, tau=self.outer_tau
            )
        is_nesterov = self.outer_optimizer == "nesterov"
        return FedAvgM(server_learning_rate=rate, beta=momentum, nesterov=is_nesterov)
