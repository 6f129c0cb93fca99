"""Models are sent as they are."""

from common.compressions import Compression


class NoCompression(Compression):
    """Nothing is compressed."""
