"""The check that a model can take the images of a data set."""

from common.errors import UserError


def image_shape(model: str, input_shape: tuple[int, ...], smallest: int = 1) -> tuple[int, int, int]:
    """Return ``input_shape`` as (channels, height, width).

    Parameters
    ----------
    model : str
        Name of the model, for the message.
    input_shape : tuple of int
        Shape of one example.
    smallest : int, default 1
        Least height and width that leave at least one pixel after all convolutions and poolings.

    Raises
    ------
    UserError
        If the examples are not images, or are too small.
    """
    if len(input_shape) != 3:
        shape = "x".join(map(str, input_shape))
        raise UserError(
            f"model {model!r} takes images (channels, height, width), not input of shape {shape}; "
            "use model 'char-lstm' for text, else 'mlp' or 'linear'"
        )
    channels, height, width = input_shape
    if min(height, width) < smallest:
        raise UserError(
            f"model {model!r} needs images of at least {smallest}x{smallest} pixels, not {height}x{width}; "
            f"use model {'small-cnn' if min(height, width) >= 6 else 'mlp'!r}"
        )
    return channels, height, width
