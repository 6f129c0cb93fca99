"""ScaleFL's server half (Ilhan, Su and Liu, CVPR 2023, section 3.3)."""

from typing import ClassVar

from common.sections import Value
from strategies.heteroavg import HeteroAvg


class ScaleFL(HeteroAvg):
    """Every element becomes the mean over the clients that hold it; elements that none holds stay.

    A client of level l holds the leading channels of everything up to head l, including the earlier heads,
    and does not contribute to anything after it.
    """

    EXAMPLE: ClassVar[dict[str, Value]] = {
        **HeteroAvg.EXAMPLE,
        "model.width": 4,
        "model.exits": "3",
        "model.sizes": "d1w0.5,d2",
    }
    TRAINS_EXITS: ClassVar[bool] = True
