"""The character LSTM of McMahan et al. (2017) and Reddi et al. (2021) for Shakespeare.

Embedding of 8 dimensions, two LSTM layers of 256 units, a linear layer; no dropout. 819,920 parameters with
LEAF's 80 symbols, 822,570 with the 90 tokens of Reddi et al. Keras counts 817,872 and 820,522, since its LSTM
has one bias vector where torch's has two.
"""

from torch import Tensor, nn

from common.sections import NonNegative, Positive
from models.architectures.text import TextClassifier, check_text


class CharLstm(TextClassifier):
    """Embedding, stacked LSTM, linear; the features are the top layer's hidden state."""

    def __init__(self, num_classes: int, tokens: int, embedding: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens or num_classes, embedding)
        self.lstm = nn.LSTM(embedding, hidden, num_layers=layers, batch_first=True)
        self.classifier = nn.Linear(hidden, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the hidden state after the last position, or after every position."""
        states: Tensor = self.lstm(self.embedding(x))[0]
        return states if self.every_position else states[:, -1]


def build(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    embedding: Positive = 8,
    hidden: Positive = 256,
    layers: Positive = 2,
    tokens: NonNegative = 0,
) -> nn.Module:
    """Build the network for sequences of token ids.

    Parameters
    ----------
    input_shape : tuple of int
        The length of a sequence; the weights do not depend on it.
    num_classes : int
        Number of output symbols.
    embedding : int, default 8
        Dimensions of the embedding.
    hidden : int, default 256
        Units of an LSTM layer.
    layers : int, default 2
        Number of LSTM layers.
    tokens : int, default 0
        Number of input symbols; 0: that of the data set, or else as many as output symbols.
    """
    check_text("char-lstm", input_shape)
    return CharLstm(num_classes, tokens, embedding, hidden, layers)
