"""Normalisation and augmentation as a configuration asks for them."""

from pathlib import Path

import pytest
import torch

from clients.base import Client
from clients.local.training_batches import iterate_training_batches
from clients.local.worker import Worker
from common.errors import UserError
from common.sections import Value
from datasets.configured import open_dataset
from datasets.transforms import make_normalizer
from tests.clients.jobs import small


@pytest.mark.parametrize(("name", "low", "high"), [("half", -1, 1), ("none", 0, 1)])
def test_constants_in_place_of_the_datas_own(name: str, low: float, high: float) -> None:
    dataset = open_dataset(small(dataset__normalization=name))
    values = make_normalizer(dataset)(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1))
    assert values.flatten().tolist() == pytest.approx([low, high], abs=1e-6)
    own = open_dataset(small())
    assert own.mean != dataset.mean
    assert own.train.inputs is not None


def test_a_single_class_is_refused(tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / f"{part}.csv").write_text("a,label\n1,yes\n2,yes\n")
    keys: dict[str, Value] = {"dataset__name": "csv", "dataset__root": str(tmp_path)}
    with pytest.raises(UserError, match="dataset 'csv' has one class, 'yes'"):
        open_dataset(small(**keys))
    assert open_dataset(small(**keys, dataset__classes="yes,no")).num_classes == 2


@pytest.mark.parametrize("augmentation", ["none", "crop-flip", "resized-crop-flip"])
def test_cutout_comes_after_normalisation(augmentation: str) -> None:
    keys = {"model__name": "linear", "dataset__normalization": "half", "augmentation__name": augmentation}
    batches = []
    for side in (0, 4):
        config = small(augmentation__cutout=side, **keys)  # type: ignore[arg-type]
        client = Client(Worker(config), 0)
        client.server_round = 1
        batches.append(next(iter(iterate_training_batches(client, "", config.local))).inputs)
    whole, holed = batches
    assert (whole == 0).double().mean() < 0.05
    assert (holed == 0).flatten(1).sum(1).min() >= 4  # a quarter of the square at least
    if augmentation == "none":
        assert torch.equal(holed[holed != 0], whole[holed != 0])
