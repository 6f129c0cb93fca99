"""Data sets as uint8 tensors, their partitions over clients, and transforms of whole batches."""

from datasets.dataset import Dataset, Split
from datasets.loading import load_dataset

__all__ = ["Dataset", "Split", "load_dataset"]
