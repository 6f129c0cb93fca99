"""Hold out a share of the training set."""

import numpy as np

from common.errors import UserError
from common.randomness import Purpose, numpy_generator
from datasets.dataset import Split
from datasets.stratified import stratified_hold_out


def hold_out(train: Split, fraction: float, key: str, purpose: Purpose, seed: int) -> tuple[Split, Split]:
    """Hold out the share that ``dataset.<key>`` sets, stratified by class if there are classes.

    Raises
    ------
    UserError
        If nothing would be held out, or a class or the training set would be left without samples.
    """
    labels = train.labels()
    kept, held_out = stratified_hold_out(
        labels, round(fraction * len(labels)), numpy_generator(seed, purpose)
    )
    if len(held_out) == 0:
        raise UserError(f"dataset.{key} {fraction} of {len(labels)} samples is none: raise it")
    if len(np.unique(labels[kept])) < len(np.unique(labels)):
        raise UserError(f"dataset.{key} {fraction} leaves a class without training samples: lower it")
    return train.subset(kept), train.subset(held_out)
