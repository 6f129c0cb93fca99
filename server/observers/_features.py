"""The features of the test images in chosen rounds (``analysis.feature-rounds``)."""

from common.records import to_tensors
from common.round_list import RoundList
from models.heads.realignment import is_of_head
from server.observers._observer import Observer, Round
from server.parts import Parts, Run
from server.records.feature_record import FeatureRecord
from server.variants import variants_of


class Features(Observer):
    """Writes ``neural_collapse.csv``, ``heads.csv`` and ``features/`` (``FeatureRecord``).

    Includes variants of the model that differ only in the head; others have different features.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._rounds = RoundList(parts.config.analysis.feature_rounds, "analysis.feature-rounds")
        self._record = (
            FeatureRecord(parts.config, parts.evaluation.model, parts.dataset) if self._rounds else None
        )

    def start(self, run: Run) -> None:
        """Open the files."""
        super().start(run)
        if self._record:
            self._record.open(run.run_directory)

    def on_train(self, current: Round) -> None:
        """Record the global model and its variants, if the strategy made one."""
        if self._record and current.aggregated is not None and current.number in self._rounds:
            state = to_tensors({**current.start, **current.aggregated})
            variants = variants_of(self.parts.strategy, state).items()
            heads = {name: entries for name, entries in variants if is_of_head(entries)}
            self._record.write(current.number, state, heads)
