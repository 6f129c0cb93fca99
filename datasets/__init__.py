"""Data sets as uint8 tensors, their partitions over clients, and transforms of whole batches."""

from datasets.dataset import Dataset, Split
from datasets.loading import available_datasets, load_dataset

__all__ = ["Dataset", "Split", "available_datasets", "load_dataset"]
