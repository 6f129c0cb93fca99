"""One pass of a body for several heads."""

from torch import Tensor, nn

from models.classifier import Classifier


class SharedBody(nn.Module):
    """A classifier that remembers what its head has seen, so that other heads need no pass of the body.

    Parameters
    ----------
    model : Classifier
        Of one label per sample. Its ``classifier`` may be changed between passes; the rest must not be.
    """

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model
        self._embeddings: list[Tensor] = []
        self._position: int | None = None

    def replay(self) -> None:
        """Take from now on what was remembered: the same batches have to come again, in the same order."""
        self._position = 0

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, of shape (samples, classes)."""
        if self._position is None:
            self._embeddings.append(self.model.embed(x))
            embedding = self._embeddings[-1]
        else:
            embedding = self._embeddings[self._position]
            self._position += 1
        if len(embedding) != len(x):
            raise ValueError("other batches are replayed than those that were remembered")
        logits: Tensor = self.model.classifier(embedding)
        return logits
