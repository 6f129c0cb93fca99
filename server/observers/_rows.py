"""The row files that every run has."""

from server.observers._observer import Observer, Round
from server.records.client_metrics import reported
from server.records.results import is_evaluated


class Rows(Observer):
    """Writes ``clients.csv``, ``evaluations.csv``, ``classes.csv`` and ``metrics.csv``."""

    def on_train(self, current: Round) -> None:
        """Write a row per client that trained."""
        for client_id, metrics in current.metrics.items():
            self.run.run_directory.clients.append(
                {
                    "round": current.number,
                    "client_id": client_id,
                    "num_examples": int(metrics["num-examples"]),
                    "steps": int(metrics["num-steps"]),
                    "loss": metrics["train_loss"],
                    "seconds": metrics["seconds"],
                }
            )

    def on_round(self, current: Round) -> None:
        """Write a row per client that evaluated, per class, and for the round."""
        files = self.run.run_directory
        for client_id, metrics in current.evaluations.items():
            values = {"num_examples": int(metrics["num-examples"]), **reported(metrics)}
            files.evaluations.append({"round": current.number, "client_id": client_id, **values})
        if is_evaluated(current.row):
            for row in self.parts.evaluation.class_rows():
                files.classes.append({"round": current.number, **row})
        files.metrics.append(current.row)
