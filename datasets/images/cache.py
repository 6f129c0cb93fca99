"""Decoded data sets on disk, as arrays that later loads map into memory.

An entry is a folder that appears under its final name only when complete: it is written beside it and
renamed. So a killed process leaves no half entry, and of two that write at once the later one gives way.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from common.errors import UserError
from datasets.images.decoding import DecodedDataset, decode
from datasets.images.raw import RawDataset

_FORMAT_VERSION = 1
_PARTIAL_PREFIX = ".partial-"
_ABANDONED_AFTER_SECONDS = 24 * 3600


def entry_name(name: str, image_size: int, root: Path, paths: Sequence[str]) -> str:
    """Return the cache entry's name: it changes when a file below ``paths`` or the image size does."""
    fingerprint = hashlib.sha256(f"{_FORMAT_VERSION} {name} {image_size}".encode())
    for path in paths:
        for relative, status in _walk(root, path):
            fingerprint.update(f"\0{relative}\0{status.st_size}\0{status.st_mtime_ns}".encode())
    return f"{name}-{fingerprint.hexdigest()[:16]}"


def load_entry(root: Path, entry: str) -> DecodedDataset | None:
    """Return the entry, its images memory-mapped, or None if no cache folder has it."""
    for folder in _cache_folders(root):
        if (folder / entry).is_dir():
            return _load(folder / entry)
    return None


def store_entry(root: Path, entry: str, raw: RawDataset, image_size: int) -> DecodedDataset:
    """Decode ``raw`` into a new entry and return that, memory-mapped."""
    partial = _make_partial_folder(root)
    final = partial.parent / entry
    try:
        _write(partial, raw, image_size)
        _publish(partial, final)
    except OSError as error:
        raise UserError(f"cannot write the cache {final}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return _load(final)


def _cache_folders(root: Path) -> tuple[Path, Path]:
    """Beside the data, so that it is shared and deleted with them; else the user's own cache."""
    user_cache = os.environ.get("FLOWERBED_CACHE") or Path.home() / ".cache" / "flowerbed"
    return root / ".flowerbed-cache", Path(user_cache).expanduser()


def _walk(root: Path, path: str) -> Iterator[tuple[str, os.stat_result]]:
    start = root / path
    if start.is_file():
        yield path, start.stat()
    for parent, folders, names in os.walk(start, followlinks=True):
        folders.sort()
        for name in sorted(names):
            file = Path(parent, name)
            try:
                yield file.relative_to(root).as_posix(), file.stat()
            except FileNotFoundError as error:
                raise UserError(f"{file} is a broken link: mend or delete it") from error


def _make_partial_folder(root: Path) -> Path:
    for folder in _cache_folders(root):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(prefix=_PARTIAL_PREFIX, dir=folder))
        except OSError:
            continue
        _remove_abandoned(folder)
        return partial
    places = " or ".join(str(folder) for folder in _cache_folders(root))
    raise UserError(f"cannot write a cache in {places}: set FLOWERBED_CACHE to a folder that can be written")


def _remove_abandoned(folder: Path) -> None:
    """Delete what killed processes left, once it is too old to be still in the making."""
    for partial in folder.glob(f"{_PARTIAL_PREFIX}*"):
        try:
            age = time.time() - partial.stat().st_mtime
        except FileNotFoundError:
            continue
        if age > _ABANDONED_AFTER_SECONDS:
            shutil.rmtree(partial, ignore_errors=True)


def _write(folder: Path, raw: RawDataset, image_size: int) -> None:
    def allocate(name: str, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        return np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=np.uint8, shape=shape)

    decoded = decode(raw, image_size, allocate)
    for inputs in (decoded.train_inputs, decoded.test_inputs):
        if isinstance(inputs, np.memmap):
            inputs.flush()
    np.save(folder / "train_targets.npy", decoded.train_targets)
    np.save(folder / "test_targets.npy", decoded.test_targets)
    description = {"class_names": decoded.class_names, "mean": decoded.mean, "std": decoded.std}
    (folder / "description.json").write_text(json.dumps(description), encoding="utf-8")


def _publish(partial: Path, final: Path) -> None:
    # mkdtemp makes folders private; a cache beside shared data is for everyone who can read those.
    partial.chmod(0o755)
    try:
        partial.rename(final)
    except OSError:
        if not final.is_dir():
            raise


def _load(folder: Path) -> DecodedDataset:
    try:
        description = json.loads((folder / "description.json").read_text(encoding="utf-8"))
        # Copy-on-write maps count as writable, which torch wants, and never reach the file.
        return DecodedDataset(
            train_inputs=np.load(folder / "train_inputs.npy", mmap_mode="c"),
            train_targets=np.load(folder / "train_targets.npy"),
            test_inputs=np.load(folder / "test_inputs.npy", mmap_mode="c"),
            test_targets=np.load(folder / "test_targets.npy"),
            class_names=tuple(description["class_names"]),
            mean=tuple(description["mean"]),
            std=tuple(description["std"]),
        )
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UserError(
            f"the cache {folder} is damaged ({error}): delete that folder and run again"
        ) from error
