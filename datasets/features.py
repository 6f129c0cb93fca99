"""Features standardised by the mean and the standard deviation of the training set."""

from dataclasses import replace

import torch

from common.errors import UserError
from datasets.dataset import Dataset, Split


def standardized(dataset: Dataset, rows: torch.Tensor, scale: bool = True) -> Dataset:
    """Return a data set of float32 features with mean 0 and standard deviation 1 over `rows`.

    Statistics are per column of a table, per value of series ``(samples, times, values)``, and per channel of
    ``(samples, channels, ...)`` with four or more dimensions. Constant features become 0.

    Parameters
    ----------
    dataset : Dataset
        Its features are float64: float32 would lose precision with large offsets.
    rows : torch.Tensor
        The training inputs, none that are held out; float64.
    scale : bool
        False only converts to float32.

    Raises
    ------
    UserError
        If a value is too large.
    """
    axis = {2: 1, 3: 2}.get(rows.ndim, 1)
    others = [dim for dim in range(rows.ndim) if dim != axis]
    lowest, highest = rows.amin(others, keepdim=True), rows.amax(others, keepdim=True)
    mean = rows.mean(others, keepdim=True)
    spread = (rows - mean).square().mean(others, keepdim=True).sqrt()
    # The mean of a constant may differ from the constant in the last digit.
    mean, spread = torch.where(lowest == highest, lowest, mean), torch.where(lowest == highest, 1.0, spread)

    def changed(split: Split) -> Split:
        values = ((split.inputs - mean) / spread if scale else split.inputs).float()
        if not bool(torch.isfinite(values).all()):
            raise UserError(f"dataset '{dataset.name}' has a feature that is too large for float32")
        return replace(split, inputs=values)

    validation = None if dataset.validation is None else changed(dataset.validation)
    return replace(
        dataset,
        train=changed(dataset.train),
        validation=validation,
        test=changed(dataset.test),
        feature_mean=mean[0] if scale else None,
        feature_std=spread[0] if scale else None,
    )
