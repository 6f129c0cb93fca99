"""An on-disk cache of decoded data sets, as arrays that later loads memory-map.

An entry is a folder that is written under a temporary name and renamed once complete. So a killed process
leaves no half-written entry, and of two concurrent writers the later one discards its copy.

The files of an entry are checked against their CRC-32 once per process (0.05 s of processor time for the
184 MB of CIFAR-10): it detects every burst error of up to 32 bits, at a quarter of the cost of a
cryptographic hash. A damaged entry is rebuilt from its source.
"""

import functools
import hashlib
import math
import os
import shutil
import stat
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from common.errors import UserError
from common.files import read_regular, user_cache
from common.seal import seal, unseal
from datasets.images.decoding import DecodedDataset, decode
from datasets.images.files import walk
from datasets.images.raw import RawDataset

_FORMAT_VERSION = 3
_DESCRIPTION = "description.json"
_ARRAYS = ("train_inputs", "train_targets", "test_inputs", "test_targets")
_CLIENTS = ("train_clients", "test_clients")  # optional
_STEP = 2**20
_PARTIAL_PREFIX = ".partial-"
_ABANDONED_AFTER_SECONDS = 24 * 3600


def entry_name(name: str, image_size: int, root: Path, paths: Sequence[str]) -> str:
    """Return the name of a cache entry, which changes with the files below ``paths`` and the image size."""
    fingerprint = hashlib.sha256(f"{_FORMAT_VERSION} {name} {image_size}".encode())
    for path in paths:
        for relative, status in _walk(root, path):
            fingerprint.update(os.fsencode(f"\0{relative}\0{status.st_size}\0{status.st_mtime_ns}"))
    return f"{name}-{fingerprint.hexdigest()[:16]}"


def open_entry(root: Path, entry: str, read: Callable[[], RawDataset], image_size: int) -> DecodedDataset:
    """Return an entry with memory-mapped images; build it if it is missing or damaged.

    Parameters
    ----------
    root : Path
        Folder of the data set.
    entry : str
        From `entry_name`.
    read : callable
        Reads the data set that is to be decoded.
    image_size : int
        See `datasets.images.decoding.decode`.

    Raises
    ------
    UserError
        If the data set cannot be read, or the entry cannot be written.
    """
    damage = ""
    for folder in (parent / entry for parent in _cache_folders(root)):
        if not os.path.lexists(folder):
            continue
        try:
            decoded = _load(folder)
        except _DamagedError as error:
            damage = f"the cache {folder} was damaged ({error})"
            _discard(folder)
            continue
        return replace(decoded, remarks=(f"{damage}: another copy is used",)) if damage else decoded
    try:
        decoded = _store(root, entry, read(), image_size)
    except UserError as error:
        if not damage:
            raise
        raise UserError(f"{damage}, and cannot be made again: {error}") from error
    return replace(decoded, remarks=(f"{damage}: it was made again from the source",)) if damage else decoded


class _DamagedError(Exception):
    """A cache entry differs from what was written."""


def _store(root: Path, entry: str, raw: RawDataset, image_size: int) -> DecodedDataset:
    """Decode ``raw`` into a new entry and return the entry, memory-mapped."""
    partial = _make_partial_folder(root)
    final = partial.parent / entry
    try:
        _write(partial, raw, image_size)
        _publish(partial, final)
    except OSError as error:
        raise UserError(f"cannot write the cache {final}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    try:
        return _load(final)
    except _DamagedError as error:
        raise UserError(f"the cache {final} is damaged ({error}): delete that folder and run again") from None


def _discard(folder: Path) -> None:
    """Remove a damaged entry if permissions allow; another process may be doing the same."""
    try:
        doomed = Path(tempfile.mkdtemp(prefix=_PARTIAL_PREFIX, dir=folder.parent))
        folder.rename(doomed / "damaged")
    except OSError:
        return
    shutil.rmtree(doomed, ignore_errors=True)


def _cache_folders(root: Path) -> tuple[Path, Path]:
    """Return the folder next to the data, which is shared and deleted with them, and the user's cache."""
    return root / ".flowerbed-cache", user_cache()


def _walk(root: Path, path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the files at a path below the root: the file itself, or all files in the folder."""
    start = root / path
    status = start.stat()
    if not stat.S_ISDIR(status.st_mode):
        yield path, status
        return
    for file, status in walk(start):
        yield f"{path}/{file.relative_to(start).as_posix()}", status


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
    """Delete leftovers of killed processes, once they are too old to be still in progress."""
    for partial in folder.glob(f"{_PARTIAL_PREFIX}*"):
        try:
            age = time.time() - partial.stat().st_mtime
        except FileNotFoundError:
            continue
        if age > _ABANDONED_AFTER_SECONDS:
            shutil.rmtree(partial, ignore_errors=True)


def _write(folder: Path, raw: RawDataset, image_size: int) -> None:
    def allocate(name: str, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        path = folder / f"{name}.npy"
        array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        _reserve(path)
        return array

    decoded = decode(raw, image_size, allocate)
    for inputs in (decoded.train_inputs, decoded.test_inputs):
        if isinstance(inputs, np.memmap):
            inputs.flush()
    np.save(folder / "train_targets.npy", decoded.train_targets)
    np.save(folder / "test_targets.npy", decoded.test_targets)
    owned = [name for name in _CLIENTS if getattr(decoded, name) is not None]
    for name in owned:
        np.save(folder / f"{name}.npy", getattr(decoded, name))
    description = {
        "class_names": decoded.class_names,
        "mean": decoded.mean,
        "std": decoded.std,
        "client_names": decoded.client_names,
        "crc32": {name: _crc32(folder / f"{name}.npy") for name in (*_ARRAYS, *owned)},
    }
    (folder / _DESCRIPTION).write_bytes(seal(description))


def _reserve(path: Path) -> None:
    """Allocate a file's disk space: on a full disk, writing to the mapped file would kill the process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)


def _publish(partial: Path, final: Path) -> None:
    # mkdtemp makes private folders; a cache next to shared data is for everyone who can read the data.
    partial.chmod(0o755)
    try:
        partial.rename(final)
    except OSError:
        if not final.is_dir():
            raise


def _load(folder: Path) -> DecodedDataset:
    try:
        description = unseal(read_regular(folder / _DESCRIPTION))
        owned = [name for name in _CLIENTS if name in description["crc32"]]
        for name in (*_ARRAYS, *owned):
            if _crc32(folder / f"{name}.npy") != description["crc32"][name]:
                raise _DamagedError(f"{name}.npy is not as it was written")
        # Copy-on-write maps are writable, as torch requires, but writes never reach the file.
        decoded = DecodedDataset(
            train_inputs=np.load(folder / "train_inputs.npy", mmap_mode="c"),
            train_targets=np.load(folder / "train_targets.npy"),
            test_inputs=np.load(folder / "test_inputs.npy", mmap_mode="c"),
            test_targets=np.load(folder / "test_targets.npy"),
            class_names=tuple(description["class_names"]),
            mean=tuple(description["mean"]),
            std=tuple(description["std"]),
            client_names=tuple(description.get("client_names", ())),
            **{name: np.load(folder / f"{name}.npy") for name in owned},
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise _DamagedError(f"{folder.name}: {error}") from error
    _check_shapes(decoded)
    return decoded


def _check_shapes(decoded: DecodedDataset) -> None:
    """Refuse arrays that are inconsistent, even if their checksums match."""
    num_classes, channels = len(decoded.class_names), len(decoded.mean)
    for inputs, targets in (
        (decoded.train_inputs, decoded.train_targets),
        (decoded.test_inputs, decoded.test_targets),
    ):
        if inputs.dtype != np.uint8 or inputs.ndim != 4 or inputs.shape[1] != channels:
            raise _DamagedError(f"images are {inputs.dtype} of shape {inputs.shape}")
        if targets.dtype != np.int64 or targets.shape != inputs.shape[:1]:
            raise _DamagedError(f"labels are {targets.dtype} of shape {targets.shape}")
        if targets.size and not 0 <= targets.min() <= targets.max() < num_classes:
            raise _DamagedError("labels are beyond the classes")
    for clients, targets in (
        (decoded.train_clients, decoded.train_targets),
        (decoded.test_clients, decoded.test_targets),
    ):
        if clients is None:
            continue
        if clients.dtype != np.int64 or clients.shape != targets.shape:
            raise _DamagedError(f"clients are {clients.dtype} of shape {clients.shape}")
        if clients.size and not 0 <= clients.min() <= clients.max() < len(decoded.client_names):
            raise _DamagedError("clients are beyond their names")
    if len(decoded.std) != channels or not all(map(math.isfinite, decoded.mean + decoded.std)):
        raise _DamagedError("the statistics are not finite numbers")


def _crc32(path: Path) -> int:
    """Return the CRC-32 of a file, cached until the file changes."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{path.name} is not a file")
    return _crc32_once(path, status.st_ino, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _crc32_once(path: Path, inode: int, size: int, changed: int) -> int:
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(_STEP):
            checksum = zlib.crc32(chunk, checksum)
    return checksum
