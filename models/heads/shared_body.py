"""One pass through a body for several heads."""

from torch import Tensor, nn

from models.classifier import Classifier


class SharedBody(nn.Module):
    """A classifier that records the inputs of its head, so that other heads need no pass through the body.

    Parameters
    ----------
    model : Classifier
        With one label per sample. Its ``classifier`` may change between passes; the rest must not.
    """

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model
        self._embeddings: list[Tensor] = []
        self._position: int | None = None

    def replay(self) -> None:
        """Use the recorded inputs from this call on; the same batches must follow in the same order."""
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
            raise ValueError("the batches differ from those that were recorded")
        logits: Tensor = self.model.classifier(embedding)
        return logits
