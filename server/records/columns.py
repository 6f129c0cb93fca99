"""Which columns ``metrics.csv`` may have, as far as a configuration says it before the run."""

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from clients.registry import Method, method_of
from common.config import Config
from common.errors import UserError, nearest
from common.package_modules import is_in
from common.plugin_kinds import OBSERVER
from common.plugins import is_from_outside
from common.reading import comma_list
from common.step_rules import step_rule
from models.measures.class_report import GROUP_NAMES
from models.measures.own import find_metrics
from server.records.run_directory import METRICS_COLUMNS
from strategies.fedavg import FedAvg

_ALWAYS = (
    *METRICS_COLUMNS, "train_accuracy", "train_squared_loss", "train_expected_loss", "train_excess_loss",
    "train_clipped_fraction", "samples", "steps", "learning_rate", "loss_queries", "virtual_seconds",
    "sharpness", "epsilon", "clip_norm", "clipped_fraction",
)  # fmt: skip
_SPLITS, _OF_CLIENTS = ("test", "validation"), ("federated", "personal")
_MEASURES = ("loss", "accuracy", "mse", "mae", "r2")
_MEASURES_OF_CLIENTS = (*_MEASURES, "accuracy_masked", "macro_f1", "weighted_f1")
_STATISTICS = (*GROUP_NAMES, "macro", "p10", "p90", "mean")
_STATISTICS_OF_CLIENTS = (*GROUP_NAMES, "macro", "worst_decile", "p10", "p90")


def check_metrics(metrics: Sequence[str], configs: Sequence[Config]) -> None:
    """Refuse columns that none of some runs can have: misspelt ones, and ones that their settings rule out.

    Code from outside the project may add columns of any name, so that nothing is certain with it.

    Parameters
    ----------
    metrics : sequence of str
        Columns; ``a|b`` is the first of these that a run has.
    configs : sequence of Config
        The configurations of the runs.

    Raises
    ------
    UserError
        With the nearest column, or the setting that a run would need.
    """
    columns = [Columns(config) for config in configs]
    for metric in metrics:
        names = metric.split("|")
        for name in names:
            if not any(name in known for known in columns):
                hint = nearest(name, {column for known in columns for column in known.usual()})
                raise UserError(f"report.metrics: no run would have a column '{name}'{hint}")
        needs = {known.needs(name) for known in columns for name in names if name in known}
        if needs and "" not in needs:
            settings = " or ".join(sorted(needs))
            raise UserError(
                f"report.metrics: no run would have a value of '{metric}', which needs {settings}"
            )


class Columns:
    """The columns that a run may have.

    Parameters
    ----------
    config : Config
        Its configuration.
    """

    def __init__(self, config: Config) -> None:
        method = method_of(config)
        observers = (*comma_list("observers", config.observers), *step_rule(config.steps).needs_observers)
        self._config = config
        self._own = (*_columns_of(method), *(name.replace("-", "_") for name in observers))
        self._strategy_is_outside = not is_in(method.strategy_class, "strategies")
        self._client_is_outside = not is_in(method.client_class, "clients")
        self._any = self._strategy_is_outside or any(is_from_outside(OBSERVER, name) for name in observers)
        self._has_models = bool(config.model.sizes) or method.strategy_class.variants is not FedAvg.variants
        self._is_personal = method.client_class.is_personalised()
        self._keeps_all = method.client_parameters.get("personal_part") == "all"
        self._metrics = tuple(find_metrics(config.metrics))

    def __contains__(self, name: str) -> bool:
        """Return whether a run with other settings of what is measured could have such a column."""
        begins = name.partition("_")[0]
        if self._any or (self._client_is_outside and begins in (*_OF_CLIENTS, "train")):
            return True
        if name in _ALWAYS or any(fnmatchcase(name, own) for own in self._own):
            return True
        if begins in _SPLITS:
            return self._is_measured(name, begins, (*_MEASURES, *self._metrics), _STATISTICS)
        start = begins if begins == "federated" else "personal(_.+)?"
        measures = (*_MEASURES_OF_CLIENTS, *self._metrics)
        return begins in _OF_CLIENTS and self._is_measured(name, start, measures, _STATISTICS_OF_CLIENTS)

    def needs(self, name: str) -> str:
        """Return the setting that a run would need to measure a column; empty if it may have it as it is."""
        begins, of_clients = name.partition("_")[0], self._config.clients.evaluate_fraction > 0
        if self._any or self._client_is_outside:
            return ""
        if begins == "personal" and not self._is_personal:
            return "a method whose clients have models of their own"
        if begins == "federated" and not (of_clients or self._is_personal):
            return "clients.evaluate-fraction above 0"
        if begins in _SPLITS and self._keeps_all:
            return "a method with a global model"
        if begins in ("test", *_OF_CLIENTS) and not self._config.evaluate.test:
            return "evaluate.test = true"
        return ""

    def usual(self) -> Iterator[str]:
        """Yield names of columns, to suggest one."""
        yield from (*_ALWAYS, *self._own)
        for begins in (*_SPLITS, *_OF_CLIENTS):
            of_clients = begins in _OF_CLIENTS
            for measure in (*(_MEASURES_OF_CLIENTS if of_clients else _MEASURES), *self._metrics):
                yield f"{begins}_{measure}"
                for statistic in _STATISTICS_OF_CLIENTS if of_clients else _STATISTICS:
                    yield f"{begins}_{measure}_{statistic}"

    def _is_measured(self, name: str, start: str, measures: Sequence[str], statistics: Sequence[str]) -> bool:
        end = ".+" if self._has_models else "|".join(statistics)
        return re.fullmatch(f"{start}_({'|'.join(measures)})(_({end}))*", name) is not None


def _columns_of(method: Method) -> Iterator[str]:
    for part in method.strategy_class.__mro__:
        yield from vars(part).get("COLUMNS", ())
