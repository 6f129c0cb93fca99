"""The recurrent network for sentences of Bao et al. (2024), after Conneau et al. (2017).

A bidirectional layer reads each sentence, its outputs are pooled over time, and three linear layers classify
(u, v, |u - v|, u v) of a pair, or u of a single sentence. The embedding is learned; theirs is GloVe's, fixed.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from common.errors import UserError
from common.sections import NonNegative, Positive
from models.architectures.layers import Dropout, DropoutProbability
from models.architectures.text import TextClassifier, check_text

_PADDING = 0


class SentenceRnn(TextClassifier):
    """Embedding, bidirectional recurrent layer, pooling, three linear layers.

    Sentences end with padding (token 0), whose outputs are 0. They are part of the maximum, as in the paper,
    but not of the mean.
    """

    def __init__(
        self,
        num_classes: int,
        tokens: int,
        embedding: int,
        recurrent: nn.RNNBase,
        sentences: int,
        pooling: str,
        fc: int,
        dropout: float,
        linear: bool,
    ) -> None:
        super().__init__()
        self.sentences, self.pooling = sentences, pooling
        self.embedding = nn.Embedding(tokens or num_classes, embedding, padding_idx=_PADDING)
        self.recurrent = recurrent
        size = 2 * recurrent.hidden_size
        layers: list[nn.Module] = []
        for inputs in (size * (1 if sentences == 1 else 4), fc):
            between = [] if linear else [Dropout(dropout)]
            layers += [*between, nn.Linear(inputs, fc), *([] if linear else [nn.Tanh()])]
        self.body = nn.Sequential(*layers, *([] if linear else [Dropout(dropout)]))
        self.classifier = nn.Linear(fc, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the inputs of the last linear layer."""
        if self.every_position:
            raise UserError("model 'sentence-rnn' predicts one class for a text: use 'char-lstm'")
        vectors = self._encoded(x.reshape(len(x) * self.sentences, -1))
        u, *rest = vectors.reshape(len(x), self.sentences, -1).unbind(1)
        pair = torch.cat([u, rest[0], (u - rest[0]).abs(), u * rest[0]], dim=1) if rest else u
        features: Tensor = self.body(pair)
        return features

    def _encoded(self, tokens: Tensor) -> Tensor:
        """Return a vector per sentence; an empty sentence counts as one padding token."""
        lengths = (tokens != _PADDING).sum(dim=1).clamp(min=1)
        packed = pack_padded_sequence(
            self.embedding(tokens), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        outputs, _ = pad_packed_sequence(
            self.recurrent(packed)[0], batch_first=True, total_length=tokens.shape[1]
        )
        if self.pooling == "max":
            maximum: Tensor = outputs.amax(dim=1)
            return maximum
        mean: Tensor = outputs.sum(dim=1) / lengths[:, None]
        return mean


def build(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    cell: Literal["rnn", "lstm"] = "rnn",
    sentences: Annotated[int, Field(ge=1, le=2)] = 1,
    embedding: Positive = 300,
    hidden: Positive = 2048,
    fc: Positive = 512,
    pooling: Literal["max", "mean"] = "max",
    dropout: DropoutProbability = 0.0,
    linear: bool = False,
    tokens: NonNegative = 0,
) -> nn.Module:
    """Build the network for sequences of token ids, of which 0 is padding.

    Parameters
    ----------
    input_shape : tuple of int
        The length of a sequence.
    num_classes : int
        Number of classes.
    cell : str, default "rnn"
        ``rnn`` (with tanh) or ``lstm``.
    sentences : int, default 1
        2: the halves of a sequence are the sentences of a pair, as in ``snli``.
    embedding, hidden, fc : int, default 300, 2048, 512
        Dimensions of the embedding, units of the layer in each direction, and units of the linear layers.
    pooling : str, default "max"
        Over time.
    dropout : float, default 0
        Before each linear layer.
    linear : bool, default False
        Whether the linear layers have neither activation nor dropout between them.
    tokens : int, default 0
        Size of the vocabulary; 0: that of the data set, or else the number of classes.
    """
    check_text("sentence-rnn", input_shape)
    if input_shape[0] % sentences:
        raise UserError(f"model.sentences = 2 halves a sequence, and the data's have {input_shape[0]} tokens")
    if linear and dropout:
        raise UserError("model.linear leaves dropout out: set model.dropout to 0")
    kind = nn.RNN if cell == "rnn" else nn.LSTM
    recurrent = kind(embedding, hidden, batch_first=True, bidirectional=True)
    return SentenceRnn(num_classes, tokens, embedding, recurrent, sentences, pooling, fc, dropout, linear)
