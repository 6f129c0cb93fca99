"""Differential privacy as a run's configuration asks for it."""

from torch import nn

from common.config import Config
from common.errors import UserError
from common.records import ARRAYS
from server.participation import cohort_size
from server.participation._scheme import ParticipationScheme
from strategies._flower import FlowerStrategy
from strategies._privacy import ClientPrivacy
from strategies.fedavg import FedAvg
from strategies.heteroavg import HeteroAvg

# The scheme that draws every cohort uniformly, without replacement and anew: the one that sampling amplifies.
_AMPLIFYING = "uniform"
_Statistics = nn.modules.batchnorm._NormBase


def apply_privacy(config: Config, strategy: FedAvg, model: nn.Module, scheme: ParticipationScheme) -> None:
    """Give a strategy the mechanism that ``privacy.*`` describes; with ``clipping = "off"`` do nothing.

    Raises
    ------
    UserError
        If the method or the model would release something that the noise does not cover, or the
        participation scheme does not go with it.
    """
    if config.privacy.clipping == "off":
        return
    name = config.method.name
    if isinstance(strategy, FlowerStrategy):
        raise UserError(
            f"privacy.* does not cover '{name}', which reduces the replies by itself:"
            " set privacy.clipping = 'off' or choose a method of our own, such as 'fedavg'"
        )
    if isinstance(strategy, HeteroAvg):
        raise UserError(
            f"privacy.* does not cover '{name}', whose clients have models of several sizes:"
            " set privacy.clipping = 'off' or choose a method for one size, such as 'fedavg'"
        )
    if extra := sorted(strategy.SECTIONS - {ARRAYS}):
        raise UserError(
            f"the clients of '{name}' send '{extra[0]}' beside the model, which privacy.* does not cover:"
            " set privacy.clipping = 'off' or choose a method that sends the model alone, such as 'fedavg'"
        )
    if any(isinstance(layer, _Statistics) and layer.track_running_stats for layer in model.modules()):
        raise UserError(
            f"privacy.* does not cover the running statistics of model '{config.model.name}':"
            " use model.norm = 'group' where the model has it, or a model without BatchNorm"
        )
    _check_scheme(config, scheme)
    strategy.privacy = ClientPrivacy(
        config.privacy,
        config.seed,
        cohort_size(config.clients.count, config.clients.fraction),
        config.clients.count,
        amplified=config.participation.name == _AMPLIFYING,
    )
    strategy.privacy_clip_norm = config.privacy.clip_norm


def _check_scheme(config: Config, scheme: ParticipationScheme) -> None:
    name = config.participation.name
    if scheme.weights() is not None:
        raise UserError(
            "privacy.* lets all replies weigh the same, which participation.correction would change:"
            " leave one of them out"
        )
    if not scheme.keeps_cohort_size:
        raise UserError(
            "privacy.* divides by one planned size of all cohorts, which participation"
            f" '{name}' does not have: set privacy.clipping = 'off' or choose another participation.name"
        )
    if scheme.looks_at_labels:
        raise UserError(
            f"privacy.* has no epsilon for participation '{name}', whose cohorts tell of the clients' labels:"
            " choose another participation.name, such as 'uniform'"
        )
    # What one client did would reach later cohorts through the losses, and with them other clients' changes.
    if scheme.remembers_losses and config.privacy.noise_multiplier > 0:
        raise UserError(
            f"privacy.* has no epsilon for participation '{name}', whose cohorts depend on losses of earlier"
            " rounds: choose another participation.name, such as 'uniform'"
        )


def privacy_remarks(config: Config) -> list[str]:
    """Say what a person should know about the privacy of a run before it starts."""
    privacy = config.privacy
    if privacy.clipping == "off":
        return []
    remarks = ["privacy: all replies weigh the same, whatever method.weighting says"]
    if privacy.noise_multiplier == 0:
        remarks.append("privacy: changes are clipped, but without noise there is no privacy and no epsilon")
    elif privacy.delta >= 1 / config.clients.count:
        remarks.append(
            f"privacy: delta = {privacy.delta:g} is not below 1 / clients.count: its epsilon says little"
        )
    if config.participation.name != _AMPLIFYING and privacy.noise_multiplier > 0:
        remarks.append(
            "privacy: epsilon claims no amplification by sampling, which takes uniform participation"
        )
    return remarks


def privacy_summary(config: Config, strategy: FedAvg, num_rounds: int) -> dict[str, float]:
    """Return epsilon and delta of a finished run, if it had noise."""
    spent = strategy.privacy.spent(num_rounds) if strategy.privacy else {}
    return {**spent, "delta": config.privacy.delta} if spent else {}
