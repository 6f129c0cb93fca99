"""Differential privacy as a run's configuration asks for it."""

from collections.abc import Iterator

from torch import nn

from clients.registry import method_of
from common.cohort import cohort_size
from common.config import Config
from common.errors import UserError
from common.returned import check_text
from common.step_rules import step_rule
from server.participation._scheme import ParticipationScheme
from strategies._privacy import ClientPrivacy
from strategies.fedavg import FedAvg

# The scheme that draws each cohort uniformly, without replacement, independently: sampling amplifies it.
_AMPLIFYING = "uniform"
_Statistics = nn.modules.batchnorm._NormBase


def apply_privacy(
    config: Config, strategy: FedAvg, model: nn.Module, scheme: ParticipationScheme, has_validation: bool
) -> None:
    """Equip a strategy with the mechanism of ``privacy.*``; with ``clipping = "off"`` do nothing.

    Raises
    ------
    UserError
        If the model would release something that the noise does not cover, or the participation scheme does
        not go with it. What methods release is checked by ``FedAvg.check``.
    """
    if config.privacy.clipping == "off":
        return
    if any(isinstance(layer, _Statistics) and layer.track_running_stats for layer in model.modules()):
        raise UserError(
            f"privacy.* does not cover the running statistics of model '{config.model.name}':"
            " use model.norm = 'group' where the model has it, or a model without BatchNorm"
        )
    _check_scheme(config, scheme)
    if config.privacy.noise_multiplier > 0:
        for reason in _leaks(config, strategy, scheme, has_validation):
            raise UserError(f"privacy.* has no epsilon for {reason}")
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
    if scheme.corrects:
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
            f"privacy.* has no epsilon for participation '{name}', whose cohorts depend on the clients'"
            " labels: choose another participation.name, such as 'uniform'"
        )
    # What one client did would reach later cohorts through the losses, and with them other clients' changes.
    if scheme.follows_training and config.privacy.noise_multiplier > 0:
        raise UserError(
            f"privacy.* has no epsilon for participation '{name}', whose cohorts depend on what clients did"
            " in earlier rounds: choose another participation.name, such as 'uniform'"
        )


def _leaks(
    config: Config, strategy: FedAvg, scheme: ParticipationScheme, has_validation: bool
) -> Iterator[str]:
    """Yield by which other way than its own clipped change one client's data would reach the model.

    docs/configuration.md has the table.
    """
    if scheme.looks_at_clients and config.privacy.relation == "zero-out":
        yield (
            f"privacy.relation = 'zero-out' with participation '{config.participation.name}': instead of a"
            " client that is left out another one enters the cohort, so set privacy.relation = 'replace-one'"
        )
    if config.stop.is_on and config.stop.metric == "train_loss":
        yield "stop.metric = 'train_loss', which the clients report exactly: choose one of the test set"
    if step_rule(config.steps).follows_clients:
        yield (
            f"steps.rule = '{config.steps.rule}', which follows what single clients measured or sent: choose"
            " another rule"
        )
    if config.local.sampling in ("shuffle", "replacement"):
        yield (
            f"local.sampling = '{config.local.sampling}', with which all clients train on all data:"
            " use 'client'"
        )
    if config.dataset.feature_noise > 0:
        yield "dataset.feature-noise, which puts an image of one client into all images of another"
    for half in (strategy, method_of(config).client_class):
        name = getattr(half, "__name__", type(half).__name__)
        reason = half.how_data_leak(config, has_validation)
        if check_text(reason, f"what {name}.how_data_leak returns"):
            yield reason


def check_private_state(config: Config, scheme: ParticipationScheme, keeps_state: bool) -> None:
    """Refuse clients that keep something where one client's data decide which others take part.

    Raises
    ------
    UserError
        Since what the others keep, and send in later rounds, would then depend on these data as well.
    """
    if config.privacy.noise_multiplier > 0 and scheme.looks_at_clients and keeps_state:
        raise UserError(
            f"privacy.* has no epsilon for participation '{config.participation.name}' with clients that keep"
            f" state, as those of '{config.method.name}' do here: use participation.name = 'uniform', or a"
            " method without client state"
        )


def privacy_remarks(config: Config) -> list[str]:
    """Return remarks on the privacy of a run, before it starts."""
    privacy = config.privacy
    if privacy.clipping == "off":
        return []
    remarks = ["privacy: all replies have equal weights"]
    if privacy.noise_multiplier == 0:
        remarks.append("privacy: changes are clipped, but without noise there is no privacy and no epsilon")
    elif privacy.delta >= 1 / config.clients.count:
        remarks.append(
            f"privacy: delta = {privacy.delta:g} is not below 1 / clients.count: its epsilon says little"
        )
    if privacy.noise_multiplier > 0:
        exact = "label counts, sizes, losses" if config.clients.report_labels else "sizes, losses"
        remarks.append(
            "privacy: epsilon is for whoever sees the server's models; the server itself sees each client's"
            f" change and {exact}"
        )
    if remark := method_of(config).strategy_class.REMARK_ON_PRIVACY:
        remarks.append(f"privacy: {remark}")
    if config.participation.name != _AMPLIFYING and privacy.noise_multiplier > 0:
        remarks.append(
            "privacy: epsilon claims no amplification by sampling, which takes uniform participation"
        )
    return remarks


def privacy_summary(config: Config, strategy: FedAvg, num_rounds: int) -> dict[str, float]:
    """Return epsilon and delta of a finished run, if it had noise."""
    spent = strategy.privacy.spent(num_rounds) if strategy.privacy else {}
    return {**spent, "delta": config.privacy.delta} if spent else {}
