"""HeteroMOON's client half: MOON on the client's sub-model (Chan et al., ICLR 2024, section 5.1).

arXiv:2308.11464.
"""

from typing import ClassVar

from clients.moon import Moon


class HeteroMoon(Moon):
    """MOON without a projection head, as in NIID-Bench: z are the features before the head.

    The received model and the client's previous one both have the client's size, so their features are
    comparable.
    """

    DEFAULTS: ClassVar = {}
