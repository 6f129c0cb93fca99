from pathlib import Path

import numpy as np
import pytest
import torch

import datasets
from common.errors import UserError
from common.plugin_kinds import DATASET
from common.plugins import names
from datasets import load_dataset


def test_our_package_is_imported_not_hugging_faces() -> None:
    assert Path(datasets.__file__).parent == Path(__file__).parents[2] / "datasets"
    assert not hasattr(datasets, "DatasetDict")


def test_names() -> None:
    assert names(DATASET) == [
        "celeba",
        "cifar10",
        "cifar100",
        "cinic10",
        "csv",
        "digits",
        "fashion-mnist",
        "femnist",
        "image-folder",
        "leaf-shakespeare",
        "mnist",
        "npz",
        "sent140",
        "shakespeare",
        "snli",
        "svhn",
        "tiny-imagenet",
    ]


def test_digits_shapes_and_statistics(tmp_path: Path) -> None:
    digits = load_dataset("digits", root=tmp_path)
    assert digits.train.inputs.shape == (1437, 1, 8, 8)
    assert digits.test.inputs.shape == (360, 1, 8, 8)
    assert digits.train.inputs.dtype == torch.uint8
    assert digits.train.targets.dtype == torch.int64
    assert digits.train.inputs.max() == 255
    assert digits.input_shape == (1, 8, 8)
    assert digits.num_classes == len(digits.class_names) == 10
    assert digits.validation is None
    scaled = digits.train.inputs.double() / 255
    assert digits.mean == pytest.approx((scaled.mean().item(),), abs=1e-12)
    assert digits.std == pytest.approx((scaled.std(correction=0).item(),), abs=1e-12)
    assert not any(tmp_path.iterdir())


def test_digits_test_set_is_stratified_and_independent_of_the_seed(tmp_path: Path) -> None:
    first, second = (load_dataset("digits", root=tmp_path, seed=seed) for seed in (0, 1))
    assert torch.equal(first.test.inputs, second.test.inputs)
    counts = torch.bincount(first.test.targets).tolist()
    assert set(counts) <= {34, 35, 36, 37}


def test_validation_is_disjoint_stratified_and_keyed_by_the_seed(tmp_path: Path) -> None:
    whole = load_dataset("digits", root=tmp_path)
    parts = load_dataset("digits", root=tmp_path, validation_fraction=0.2, seed=3)
    assert parts.validation is not None
    assert len(parts.validation) == 287
    assert len(parts.train) + len(parts.validation) == 1437
    shares = torch.bincount(parts.validation.targets) / torch.bincount(whole.train.targets)
    assert shares.sub(0.2).abs().max() < 0.01
    together = torch.cat([parts.train.inputs, parts.validation.inputs]).flatten(1)
    assert sorted(map(bytes, together.numpy())) == sorted(map(bytes, whole.train.inputs.flatten(1).numpy()))

    again = load_dataset("digits", root=tmp_path, validation_fraction=0.2, seed=3)
    other = load_dataset("digits", root=tmp_path, validation_fraction=0.2, seed=4)
    assert again.validation is not None
    assert other.validation is not None
    assert torch.equal(parts.validation.inputs, again.validation.inputs)
    assert not torch.equal(parts.validation.inputs, other.validation.inputs)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.5, float("nan"), 0.9999, 1e-9])
def test_impossible_validation_fraction(tmp_path: Path, fraction: float) -> None:
    with pytest.raises(UserError, match="validation-fraction"):
        load_dataset("digits", root=tmp_path, validation_fraction=fraction)


def test_digits_can_be_resized(tmp_path: Path) -> None:
    digits = load_dataset("digits", root=tmp_path, image_size=16)
    assert digits.input_shape == (1, 16, 16)
    with pytest.raises(UserError, match="image-size"):
        load_dataset("digits", root=tmp_path, image_size=-1)


def test_unknown_name_offers_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"'cifar-10'; did you mean 'cifar10'\? \(available: celeba, cifar10, cifar100"
    ):
        load_dataset("cifar-10", root=tmp_path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mnist", "MNIST/raw"),
        ("fashion-mnist", "FashionMNIST/raw"),
        ("cifar10", "cifar-10-batches-py"),
        ("cifar100", "cifar-100-python"),
        ("svhn", "train_32x32.mat"),
    ],
)
def test_missing_data_names_folder_and_key(tmp_path: Path, name: str, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        load_dataset(name, root=tmp_path)
    message = str(caught.value)
    assert str(tmp_path / expected) in message
    assert "--set dataset.download=true" in message
    assert "\n" not in message


def test_incomplete_data_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(UserError, match="CIFAR10"):
        load_dataset("cifar10", root=tmp_path)


def test_failed_download_is_a_user_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", fail)
    with pytest.raises(UserError, match="no route to host"):
        load_dataset("cifar10", root=tmp_path, download=True)


def test_download_is_cached_under_the_key_of_later_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads = []

    class FakeCifar:
        classes = ("cat", "dog")

        def __init__(self, root: Path, train: bool, download: bool) -> None:
            downloads.append(download)
            (root / "cifar-10-batches-py").mkdir(exist_ok=True)
            (root / "cifar-10-batches-py" / f"batch_{train}").write_bytes(b"pixels")
            self.data = np.arange(2 * 2 * 2 * 3, dtype=np.uint8).reshape(2, 2, 2, 3)
            self.targets = [0, 1]

    monkeypatch.setattr("torchvision.datasets.CIFAR10", FakeCifar)
    first = load_dataset("cifar10", root=tmp_path, download=True)
    second = load_dataset("cifar10", root=tmp_path)
    assert downloads == [True, True]
    assert torch.equal(first.train.inputs, second.train.inputs)
    assert first.train.inputs[0, :, 0, 0].tolist() == [0, 1, 2]


def test_svhn_reads_matlab_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    images = np.arange(32 * 32 * 3 * 2, dtype=np.int64).astype(np.uint8).reshape(32, 32, 3, 2)
    for split in ("train", "test"):
        scipy_io.savemat(tmp_path / f"{split}_32x32.mat", {"X": images, "y": np.array([[10], [3]])})
    monkeypatch.setattr("torchvision.datasets.SVHN._check_integrity", lambda _: True)
    svhn = load_dataset("svhn", root=tmp_path)
    assert svhn.train.targets.tolist() == [0, 3]
    assert np.array_equal(svhn.train.inputs[1].numpy(), images[..., 1].transpose(2, 0, 1))


def test_subset_and_to() -> None:
    split = datasets.Split(torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1), torch.arange(4))
    part = split.subset(np.array([3, 1]))
    assert part.targets.tolist() == [3, 1]
    assert part.inputs.flatten().tolist() == [3, 1]
    assert len(part.to("cpu")) == 2


@pytest.mark.parametrize(
    ("name", "shape", "mean", "std"),
    [
        ("mnist", (60000, 1, 28, 28), (0.1307,), (0.3081,)),
        ("fashion-mnist", (60000, 1, 28, 28), (0.2860,), (0.3530,)),
        ("cifar10", (50000, 3, 32, 32), (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        ("cifar100", (50000, 3, 32, 32), (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    ],
)
def test_canonical_sets(
    canonical_root: Path,
    name: str,
    shape: tuple[int, ...],
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> None:
    dataset = load_dataset(name, root=canonical_root)
    assert dataset.train.inputs.shape == shape
    assert len(dataset.test) == 10000
    assert dataset.mean == pytest.approx(mean, abs=1e-4)
    assert dataset.std == pytest.approx(std, abs=1e-4)
    assert dataset.num_classes == len(dataset.class_names) == dataset.train.targets.max() + 1


def test_cifar100_validation_leaves_450_of_each_class(canonical_root: Path) -> None:
    dataset = load_dataset("cifar100", root=canonical_root, validation_fraction=0.1)
    assert torch.bincount(dataset.train.targets).tolist() == [450] * 100
