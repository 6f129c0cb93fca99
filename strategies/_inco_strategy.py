"""Shared by the methods whose server half may put its update through InCo."""

from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar

from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp import Grid
from pydantic import Field
from torch import Tensor

from common.parameters import Needs
from common.randomness import torch_generator
from common.records import Tensors
from common.sections import NonNegativeFloat
from strategies._inco import Diagnostics, Granularity, InCoOptions, SignRule, Term, apply_inco
from strategies._inco_targets import inco_targets
from strategies.fedavg import FedAvg


class InCo(FedAvg):
    """A server half whose updates go through InCo if ``method.inco`` is set.

    A method inherits from it before any other server half, and calls :meth:`apply_inco` on its aggregated
    change of the model, just before adding it. Control variates are not affected.
    """

    COLUMNS = ("inco_theta", "inco_beta_positive", "inco_capped", "inco_clipped")
    NEEDS: ClassVar[Mapping[str, Needs]] = {
        f"inco_{name}": Needs("inco")
        for name in (
            "sign_rule", "granularity", "normalise", "optimise", "theta_max", "clip", "epsilon", "term",
        )
    }  # fmt: skip

    inco: bool = False
    inco_sign_rule: SignRule = "abs"
    inco_granularity: Granularity = "kernel"
    inco_normalise: bool = True
    inco_optimise: bool = True
    inco_theta_max: NonNegativeFloat = 5.0
    inco_clip: NonNegativeFloat = 0.1
    inco_epsilon: Annotated[float, Field(gt=0)] = 1e-7
    inco_term: Term = "gradient"

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self.inco_diagnostics: Diagnostics = {}
        self.inco_round = 0

    @property
    def inco_options(self) -> InCoOptions:
        """The parameters as :class:`InCoOptions`."""
        return InCoOptions(
            self.inco_sign_rule,
            self.inco_granularity,
            self.inco_normalise,
            self.inco_optimise,
            self.inco_theta_max,
            self.inco_clip,
            self.inco_epsilon,
            self.inco_term,
        )

    def apply_inco(self, updates: Mapping[str, Tensor], held: Mapping[str, Tensor] | None = None) -> Tensors:
        """Return the updates of a round after InCo, or as they are without ``method.inco``.

        Parameters
        ----------
        updates, held
            As in :func:`apply_inco`; targets are found in the global model of the round.

        Raises
        ------
        UserError
            If the model has no layers to which InCo applies.
        """
        if not self.inco:
            return dict(updates)
        generator = torch_generator(self.seed, "inco-noise", self.inco_round)
        options = self.inco_options
        replaced, self.inco_diagnostics = apply_inco(updates, self._targets(), options, held, generator)
        return replaced

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Build the messages of the round; before any training, refuse a model without targets for InCo."""
        messages = super().configure_train(server_round, arrays, config, grid)
        self.inco_diagnostics, self.inco_round = {}, server_round
        if self.inco:
            self._targets()
        return messages

    def columns(self, server_round: int) -> dict[str, float]:
        """Add means over all targets, if the round had any."""
        means = {
            f"inco_{key}": sum(layer[key] for layer in self.inco_diagnostics.values())
            / len(self.inco_diagnostics)
            for key in ("theta", "beta_positive", "capped", "clipped")
            if self.inco_diagnostics
        }
        return {**super().columns(server_round), **means}

    @property
    def reports_layers(self) -> bool:
        """Whether targets are replaced."""
        return self.inco

    def layers(self, server_round: int) -> dict[str, dict[str, float]]:
        """Return the diagnostics of every target of the round, for ``layers.csv``."""
        return self.inco_diagnostics

    def _targets(self) -> dict[str, str]:
        return inco_targets({name: tuple(value.shape) for name, value in self.global_model.items()})
