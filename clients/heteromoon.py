"""HeteroMOON's client half: MOON on the client's sub-model (Chan et al., ICLR 2024, section 5.1).

arXiv:2308.11464.
"""

from typing import ClassVar

from clients.moon import Moon


class HeteroMoon(Moon):
    """MOON without a projection, as NIID-Bench has it: z are the features before the head.

    The received model and the client's own previous one have the client's size, so depths need not be
    reconciled.
    """

    DEFAULTS: ClassVar = {}
