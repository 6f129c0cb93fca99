"""ScaleFL's server half (Ilhan, Su and Liu, CVPR 2023, section 3.3)."""

from typing import ClassVar

from strategies.heteroavg import HeteroAvg


class ScaleFL(HeteroAvg):
    """Every element becomes the mean over the clients that hold it; elements that nobody holds stay.

    A client of level l holds the leading channels of everything up to head l, the earlier heads included, so
    that it has a say in nothing behind.
    """

    TRAINS_EXITS: ClassVar[bool] = True
