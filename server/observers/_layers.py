"""What a strategy reports about single layers."""

from server.observers._observer import Observer, Round
from server.parts import Run


class Layers(Observer):
    """Writes ``layers.csv``, a row per round and layer, for strategies that report any."""

    def start(self, run: Run) -> None:
        """Open the file."""
        super().start(run)
        if self.parts.strategy.reports_layers:
            self._rows = run.run_directory.add_log("layers", ("round", "layer"))

    def on_train(self, current: Round) -> None:
        """Write what the strategy reports about the round."""
        if self.parts.strategy.reports_layers:
            for layer, values in self.parts.strategy.layers(current.number).items():
                self._rows.append({"round": current.number, "layer": layer, **values})
