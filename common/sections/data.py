"""Sections on the data and the model."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from common.sections.base import ConfigSection, NamedSection, NonNegative, Positive


class DatasetSection(NamedSection):
    """Which data, where they are, and how they are split; further keys are parameters of the data set."""

    root: str
    download: bool
    image_size: Annotated[int, Field(ge=0, le=8192)]
    validation_fraction: Annotated[float, Field(ge=0, lt=1)]
    validation_seed: Annotated[int, Field(ge=-1, lt=2**32)]
    natural_clients: NonNegative
    client_noise: Annotated[float, Field(ge=0, le=1000)]
    imbalance_factor: Annotated[float, Field(gt=0, le=1)]
    imbalance_profile: Literal["exponential", "step"]
    imbalance_seed: Annotated[int, Field(ge=-1, lt=2**32)]
    normalization: Literal["dataset", "imagenet", "half", "none"]
    binarize: bool
    feature_noise: Annotated[float, Field(ge=0, le=1)]
    feature_noise_overflow: Literal["wrap", "clip"]
    feature_noise_clients: NonNegative
    label_noise: Annotated[float, Field(ge=0, lt=1)]


class PartitionSection(NamedSection):
    """How the training samples are dealt to the clients (``datasets/partitions``)."""

    seed: Annotated[int, Field(ge=-1, lt=2**32)]


class AugmentationSection(NamedSection):
    """How training images are augmented (``datasets/augmentations``), and cutout after that."""

    cutout: NonNegative


class ModelSection(NamedSection):
    """The architecture, and the sizes of the clients' sub-models (``models/sizes/submodels.py``)."""

    individual_init: bool
    sizes: str
    size_assignment: Literal["contiguous", "shuffled", "dynamic"]
    size_file: str

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.individual_init and self.sizes:
            raise ValueError(
                "model.individual-init is for clients that all train the whole model: leave model.sizes empty"
            )
        if self.individual_init and self.parameters.get("weights"):
            raise ValueError(
                "model.individual-init gives every client its own initial weights, model.weights the same"
                " ones to all: leave one of them out"
            )
        return self


class BatchNormSection(ConfigSection):
    """What happens to BatchNorm's running statistics (``docs/architecture.md``)."""

    policy: Literal["average", "local", "recalibrate"]
    batches: Positive
    batch_size: NonNegative
    augmented: bool
