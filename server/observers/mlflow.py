"""Tracking with MLflow: in ``RUN/tracking/mlflow/mlflow.db``, or where ``MLFLOW_TRACKING_URI`` says."""

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.sections import Value
from server.observers._tracker import Tracker

EXPERIMENT = "flowerbed"
_MAX_PARAMETERS, _MAX_METRICS = 100, 1000  # of one call


class MLflow(Tracker):
    """Writes metrics named as the columns of ``metrics.csv``, and the configuration as parameters.

    The run's id is kept in the file ``run-id``; a resumed run continues it with the steps that it lacks.
    """

    PACKAGES = ("mlflow", "sqlalchemy", "alembic")
    EXTRA = "mlflow"

    _client: Any = None
    _run_id = ""
    _known: frozenset[tuple[str, int]] = frozenset()

    def open(self, folder: Path, title: str, config: Mapping[str, Value]) -> None:
        """Begin the run, or continue it."""
        for name in ("alembic", "mlflow.store.db.utils"):  # which report every table that they make
            logging.getLogger(name).setLevel(logging.WARNING)
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.absolute() / 'mlflow.db'}"
        self._client = MlflowClient(tracking_uri=uri)
        id_file = folder / "run-id"
        self._run_id = id_file.read_text().strip() if id_file.is_file() else ""
        if not self._run_id or not self._continues():
            self._run_id = self._new_run(title, config)
            id_file.write_text(self._run_id)

    def _new_run(self, title: str, config: Mapping[str, Value]) -> str:
        from mlflow.entities import Param

        client = self._client
        experiment = client.get_experiment_by_name(EXPERIMENT)
        identity = experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT)
        run_id = str(client.create_run(identity, run_name=title).info.run_id)
        parameters = [Param(key, str(value)) for key, value in config.items()]
        for first in range(0, len(parameters), _MAX_PARAMETERS):
            client.log_batch(run_id, params=parameters[first : first + _MAX_PARAMETERS])
        return run_id

    def _continues(self) -> bool:
        """Take the run up again; return whether the store has it."""
        from mlflow.exceptions import MlflowException

        try:
            known = self._client.get_run(self._run_id).data.metrics
        except MlflowException:  # another store
            return False
        self._client.set_terminated(self._run_id, "RUNNING")
        self._known = frozenset(
            (key, metric.step)
            for key in known
            for metric in self._client.get_metric_history(self._run_id, key)
        )
        return True

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write what the run does not have of a step."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [
            Metric(key, value, now, step) for key, value in values.items() if (key, step) not in self._known
        ]
        for first in range(0, len(metrics), _MAX_METRICS):
            self._client.log_batch(self._run_id, metrics=metrics[first : first + _MAX_METRICS])

    def close(self, is_complete: bool) -> None:
        """Record how the run ended; one that was stopped early can be continued."""
        self._client.set_terminated(self._run_id, "FINISHED" if is_complete else "KILLED")
