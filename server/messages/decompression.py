"""Restores the models of replies whose changes are compressed (``common/compressions``)."""

from collections.abc import Iterator, Mapping

from flwr.app import Array, ArrayRecord, Message

from common.compressions import Compression, compression_generator
from common.errors import one_line
from common.flower import entries, new_array_record
from common.records import ARRAYS, SERVER_ROUND, config_record, to_array, to_tensors

_BYTES = "uint8"


class Decompression:
    """Replaces compressed changes in replies by models, x plus the change that was sent.

    Parameters
    ----------
    compression : Compression
        That of the run.
    seed : int
        The run's seed.
    messages : Mapping[int, Message]
        client id → the message that is answered, which has x.

    Attributes
    ----------
    bytes_saved : dict[int, int]
        client id → by how many bytes its changes were shorter than the arrays.
    """

    def __init__(self, compression: Compression, seed: int, messages: Mapping[int, Message]) -> None:
        self._compression, self._seed, self._messages = compression, seed, messages
        self.bytes_saved: dict[int, int] = {}

    def fault(self, client_id: int, reply: Message) -> str:
        """Restore the model of a reply; return why that is not possible, or nothing."""
        asked, received = self._messages[client_id].content, reply.content.get(ARRAYS)
        sent = asked.get(ARRAYS)
        if not isinstance(sent, ArrayRecord) or not isinstance(received, ArrayRecord):
            return ""
        restored, saved = dict(entries(received)), 0
        server_round = int(config_record(asked)[SERVER_ROUND])  # type: ignore[arg-type]
        for index, name in _compressed(sent, restored):
            generator = compression_generator(self._seed, server_round, client_id, index)
            try:
                x, data = (to_tensors({name: record[name]})[name] for record in (sent, restored))
                change = self._compression.decode(data, x.numel(), x.dtype, generator)
                restored[name] = to_array(x + change.view(x.shape))
            except Exception as error:  # bytes from another machine may raise anything
                reason = one_line(str(error))[:200]
                return f"the reply has a compressed change of '{name}' that cannot be read: {reason}"
            saved += x.nbytes - data.nbytes
        reply.content[ARRAYS] = new_array_record(restored)
        self.bytes_saved[client_id] = saved
        return ""


def _compressed(sent: Mapping[str, Array], received: Mapping[str, Array]) -> Iterator[tuple[int, str]]:
    """Yield index and name of the arrays of a model whose changes are compressed."""
    for index, (name, array) in enumerate(sent.items()):
        if name in received and received[name].dtype == _BYTES != array.dtype:
            yield index, name
