"""The progress display."""

from server.observers._observer import Observer, Round


class Progress(Observer):
    """Shows every finished round on the run's display."""

    def on_round(self, current: Round) -> None:
        """Show the metrics of the round."""
        self.run.progress.show(current.row)
