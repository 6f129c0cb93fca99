"""HeteroFL's server half (Diao, Ding and Tarokh, ICLR 2021, arXiv:2010.01264, section 3 and Algorithm 1)."""

from typing import ClassVar

from common.records import ARRAYS, Payload
from common.sections import Value
from models.heads.realignment import head_entries
from models.sizes.submodels import EntrySelection, Indices
from strategies.heteroavg import HeteroAvg

CLASSES = "classes"


class HeteroFL(HeteroAvg):
    """Every element becomes the mean over the clients that hold it; elements that none holds stay.

    A client holds the leading channels of each layer. In the classifier it contributes only to the rows of
    the classes among its samples.
    """

    EXAMPLE: ClassVar[dict[str, Value]] = {
        **HeteroAvg.EXAMPLE,
        "model.width": 4,
        "model.sizes": "a,b",
        "batch-norm.policy": "recalibrate",
        "batch-norm.batches": 2,
    }
    SECTIONS = frozenset({ARRAYS, CLASSES})

    def how_labels_leak(self) -> str:
        """Return how: clients name their classes."""
        return "whose clients say which classes they hold"

    def transform_reply(self, sections: Payload) -> Payload:
        """Return the model without the classifier's rows of other classes."""
        arrays, own = sections[ARRAYS], sections[CLASSES]["held"]
        if own.all():
            return {ARRAYS: arrays}
        rows = own.nonzero().flatten()
        held: dict[str, Indices] = dict.fromkeys(arrays, ()) if self.held is None else dict(self.held.indices)
        head = head_entries(arrays)
        for name, value in head.items():
            columns = held[name][1:] or (None,) * (value.ndim - 1)
            held[name] = (rows, *columns)
        self.held = EntrySelection(held)
        return {ARRAYS: arrays | {name: value[rows] for name, value in head.items()}}
