"""The parameters of ``image-folder``: lists instead of folders, and the source of the test images."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.sections import Value
from datasets.images.files import class_folders, image_files, printable

# Other common names of a folder of test images.
_HELD_OUT_NAMES = ("val", "valid", "validation", "eval", "dev")


@dataclass(frozen=True)
class ImageOptions:
    """Where the images of ``image-folder`` are; see ``docs/data.md``.

    Attributes
    ----------
    list_file, test_list_file : str
        Lists of images, or empty.
    test_folder : str
        The folder of the test images; empty if they are listed, or split off the training images.
    test_fraction : float
        Share of the training images that become the test set; 0: none.
    """

    list_file: str = ""
    test_list_file: str = ""
    test_folder: str = "test"
    test_fraction: float = 0.0

    @classmethod
    def of(cls, values: Mapping[str, Value], given: Mapping[str, Value]) -> "ImageOptions":
        """Build the options, checking that they are consistent.

        Parameters
        ----------
        values : mapping
            Parameter name → value, defaults included.
        given : mapping
            Only what the configuration sets, spelled as there.

        Raises
        ------
        UserError
            If test images would come from two sources, or from none.
        """
        options = cls(**values)  # type: ignore[arg-type]
        if options.test_list_file and not options.list_file:
            raise UserError("dataset.test-list-file needs dataset.list-file, the list of the training images")
        if options.list_file and "test-folder" in given:
            raise UserError("dataset.test-folder is for folders of images, and dataset.list-file is set")
        if options.test_fraction > 0:
            for key in ("test-folder", "test-list-file"):
                if given.get(key):
                    raise UserError(
                        f"dataset.test-fraction splits test images off the training images, and dataset.{key}"
                        " names others: leave one of them out"
                    )
            return cls(options.list_file, "", "", options.test_fraction)
        if options.list_file and not options.test_list_file:
            raise UserError(
                "dataset.list-file needs test images: set dataset.test-list-file, or dataset.test-fraction to"
                " split some off"
            )
        if not options.list_file and (not options.test_folder or options.test_folder.strip("./") == "train"):
            raise UserError("dataset.test-folder must name a folder next to 'train'")
        return options


def missing_train_folder(root: Path) -> str:
    """Return advice for a missing folder of training images, where `root` has the classes; may be empty."""
    folders = class_folders(root) if root.is_dir() else []
    if not folders or not image_files(root / folders[0]):
        return ""
    return f": if {printable(', '.join(folders[:3]))} are classes, move their folders into {root / 'train'}"


def missing_test_folder(root: Path, test_folder: str) -> str:
    """Return advice for a missing test folder."""
    there = next((name for name in _HELD_OUT_NAMES if (root / name).is_dir()), "")
    named = f"set dataset.test-folder = '{there}' to take {root / there}" if there else ""
    split = "set dataset.test-fraction, such as 0.2, to split some of the training images off"
    return "; ".join(filter(None, (named, split))) if test_folder else split
