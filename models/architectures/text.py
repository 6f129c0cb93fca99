"""The base of text models: they classify after the last position or after every position."""

from abc import abstractmethod

from torch import Tensor

from common.errors import UserError
from models.classifier import Classifier


class TextClassifier(Classifier):
    """A classifier of token sequences.

    Attributes
    ----------
    every_position : bool
        Whether features and logits are those of every position, or of the last one only (default). The data
        set decides (``models/configured.py``); the weights are the same.
    """

    every_position: bool = False

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Return the inputs of the classifier: (batch, features), or (batch, positions, features)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, classes), or (batch, classes, positions) as cross-entropy takes them."""
        logits: Tensor = self.classifier(self.embed(x))
        return logits.transpose(1, 2) if self.every_position else logits


def check_text(model: str, input_shape: tuple[int, ...]) -> None:
    """Refuse input that is not a sequence of token ids.

    Raises
    ------
    UserError
        If the examples have more or less than one dimension.
    """
    if len(input_shape) != 1:
        shape = "x".join(map(str, input_shape))
        raise UserError(
            f"model {model!r} takes text, not images of shape {shape}; use an image model such as 'small-cnn'"
        )
