"""Images in one folder per class, ``root/{train,test}/<class>/*``, or named by lists."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import Field

from common.errors import UserError
from common.sections import Value
from datasets.dataset import Dataset
from datasets.images.client_folders import ClientFolders, read_client_folders
from datasets.images.files import left_out
from datasets.images.image_folder import read_image_folder
from datasets.images.loading import load_images
from datasets.images.options import ImageOptions
from datasets.images.raw import RawDataset
from datasets.images.sources import Source
from datasets.request import Request


def load(
    request: Request,
    *,
    list_file: str = "",
    test_list_file: str = "",
    test_folder: str = "test",
    test_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    client_folders: ClientFolders = "none",
) -> Dataset:
    """Load the images below ``request.root``; for the parameters see ``docs/data.md``."""
    values: dict[str, Value] = {
        "list_file": list_file,
        "test_list_file": test_list_file,
        "test_folder": test_folder,
        "test_fraction": test_fraction,
    }
    options = ImageOptions.of(values, request.parameters)
    if options.test_folder:
        _check_apart(request.root / "train", request.root / options.test_folder)
    paths = ("train", options.test_folder) if options.test_folder else ("train",)
    if client_folders != "none" and list_file:
        raise UserError("dataset.client-folders is for folders of images, and dataset.list-file is set")

    def read(root: Path, download: bool) -> RawDataset:
        if client_folders == "none":
            return read_image_folder(root, options.test_folder)
        return read_client_folders(root, options.test_folder, client_folders)

    variant = "" if client_folders == "none" else f"-{client_folders}"
    source = Source(read, paths, downloadable=False, variant=variant)
    dataset = load_images(request, source, options)
    if list_file:
        return dataset
    remarks = left_out(request.root / path for path in paths)
    return replace(dataset, remarks=(*dataset.remarks, *remarks))


def _check_apart(train: Path, test: Path) -> None:
    """Refuse test images that are also training images, by whatever path."""
    train, test = train.resolve(), test.resolve()
    if train == test or train in test.parents or test in train.parents:
        raise UserError(
            f"dataset.test-folder: {test} shares images with {train}, so that they would be trained on: name"
            " another folder"
        )
