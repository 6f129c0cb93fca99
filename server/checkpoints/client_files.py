"""Which file holds which client's state: lists to which each checkpoint appends its changes.

A list has lines ``client_id,name,sha256``; the last line of a client counts. A checkpoint names a list, and
the length of its own part. Two lists alternate, so that if one is damaged, the previous checkpoint
can still be used.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.files import read_regular, write_atomic
from common.records import Payload
from common.state_files import decode_state

OWN_STATE = re.compile(r"\.?client-\d{6,}-round-\d{6,}\.safetensors(\.\d+)?(\.tmp)?")
_NAME = re.compile(r"(clients/\d{6,}/)?client-(\d{6,})-round-(\d{6,})\.safetensors")
_LIST = re.compile(r"clients-round-(\d{6,})\.csv")
# A list is rewritten once it has this many more lines than clients, and twice as many.
_MAX_OLD_LINES = 10_000


@dataclass(frozen=True)
class StateFile:
    """A file below the folder of the checkpoints, and its hash."""

    name: str
    sha256: str


class StoredStates(Mapping[int, Payload]):
    """client id → state, each read on access.

    Parameters
    ----------
    directory : Path
        The folder of the checkpoints.
    files : Mapping[int, StateFile]
        The file of each client.
    """

    def __init__(self, directory: Path, files: Mapping[int, StateFile]) -> None:
        self._directory = directory
        self._files = dict(files)

    def __getitem__(self, client_id: int) -> Payload:
        return decode_state(self._content(client_id))

    def __iter__(self) -> Iterator[int]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def path(self, client_id: int) -> tuple[Path, str]:
        """Return a client's file and its hash."""
        file = self._files[client_id]
        return self._directory / file.name, file.sha256

    def check(self) -> None:
        """Check that all files are there and intact.

        Raises
        ------
        ValueError, OSError
            If one is not.
        """
        for client_id in self._files:
            self._content(client_id)

    def _content(self, client_id: int) -> bytes:
        path, expected = self.path(client_id)
        content = read_regular(path)
        if hashlib.sha256(content).hexdigest() != expected:
            raise ValueError(f"{path.name} is damaged")
        return content


class GrowingList:
    """A file of lines to which lines are appended.

    Parameters
    ----------
    directory : Path
        The folder of the checkpoints.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._name = ""
        self._num_lines = self._num_bytes = 0
        self._digest = hashlib.sha256()
        self._new: list[str] = []

    def add(self, line: str) -> None:
        """Add a line to the next commit."""
        self._new.append(line)

    def commit(self, name: str, everything: Mapping[int, StateFile]) -> dict[str, Any]:
        """Write the list to disk and return its entry for the manifest; `name` is that of a new list."""
        if not self._name or self._num_lines > 2 * len(everything) + _MAX_OLD_LINES:
            lines = [_line(client_id, file) for client_id, file in everything.items()]
            content = "".join(lines).encode()
            write_atomic(self._directory / name, content)
            self._name, self._num_lines, self._num_bytes = name, len(lines), len(content)
            self._digest = hashlib.sha256(content)
        elif self._new:
            content = "".join(self._new).encode()
            with (self._directory / self._name).open("r+b") as file:
                file.truncate(self._num_bytes)  # an attempt that failed may have left a part of itself
                file.seek(self._num_bytes)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            self._num_lines += len(self._new)
            self._num_bytes += len(content)
            self._digest.update(content)
        self._new = []
        return {"list": self._name, "bytes": self._num_bytes, "sha256": self._digest.hexdigest()}


def read_list(directory: Path, entry: Mapping[str, Any], number: int) -> dict[int, StateFile]:
    """Read a manifest's entry on the clients' files: a list, or in old manifests the files themselves.

    Parameters
    ----------
    directory : Path
        The folder of the checkpoints.
    entry : mapping
        The manifest's entry.
    number : int
        The manifest's round.

    Raises
    ------
    ValueError, LookupError, TypeError, OSError
        If it is damaged, or belongs to another run or round.
    """
    if "list" not in entry:
        files = {int(key): StateFile(str(file["name"]), str(file["sha256"])) for key, file in entry.items()}
        return _checked(files, number)
    if not (match := _LIST.fullmatch(entry["list"])) or int(match[1]) > number:
        raise ValueError(f"it is of round {number} and names {entry['list']}")
    content = read_regular(directory / entry["list"])[: entry["bytes"]]
    if len(content) != entry["bytes"] or hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise ValueError(f"{entry['list']} is damaged")
    fields = (line.split(",") for line in content.decode().splitlines())
    return _checked({int(client): StateFile(name, digest) for client, name, digest in fields}, number)


def _checked(files: dict[int, StateFile], number: int) -> dict[int, StateFile]:
    """Refuse names that no commit of a round up to `number` would have used."""
    for client_id, file in files.items():
        match = _NAME.fullmatch(file.name)
        if not match or int(match[2]) != client_id or int(match[3]) > number:
            raise ValueError(f"it is of round {number} and names {file.name} for client {client_id}")
    return files


def _round_of(name: str) -> int:
    match = _NAME.fullmatch(name)
    assert match, name
    return int(match[3])


def _line(client_id: int, file: StateFile) -> str:
    return f"{client_id},{file.name},{file.sha256}\n"


class ClientFiles:
    """The files of the clients' states, in the last checkpoint and in the next one.

    Parameters
    ----------
    directory : Path
        The folder of the checkpoints.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.restore({})

    def restore(self, files: Mapping[int, StateFile]) -> None:
        """Restore the files of a checkpoint."""
        self._files = dict(files)
        self._lists = [GrowingList(self._directory), GrowingList(self._directory)]
        self._turn = 0
        self._replaced: dict[str, range] = {}  # file → rounds whose state it has, since the last commit
        self._replaced_before: dict[str, range] = {}  # and those that that commit replaced
        self._pinned: dict[str, set[int]] = {}  # older file → rounds marked to stay that use it
        self._swept = False

    def of(self, client_id: int) -> StateFile | None:
        """Return a client's file; None if it has none."""
        return self._files.get(client_id)

    def put(self, client_id: int, file: StateFile) -> None:
        """Record a client's new file."""
        if (old := self._files.get(client_id)) and old.name != file.name:
            self._replaced[old.name] = range(_round_of(old.name), _round_of(file.name))
        self._files[client_id] = file
        for growing in self._lists:
            growing.add(_line(client_id, file))

    def commit(self, stem: str) -> dict[str, Any]:
        """Write the list of files to disk, and return its entry for the manifest."""
        if not self._files:
            return {}
        self._turn = 1 - self._turn
        return self._lists[self._turn].commit(f"clients-{stem}.csv", self._files)

    def collect_garbage(self, staying: Mapping[int, Mapping[str, Any]]) -> None:
        """Delete files that neither the last two checkpoints nor one that stays name.

        Parameters
        ----------
        staying : Mapping[int, Mapping[str, Any]]
            Round → the manifest's entry on clients, for the checkpoints that stay.
        """
        if self._swept:
            for name, rounds in self._replaced_before.items():
                self._pinned[name] = {number for number in staying if number in rounds}
        else:
            self._sweep(staying)
        for name, numbers in list(self._pinned.items()):
            numbers &= staying.keys()
            if not numbers:
                (self._directory / name).unlink(missing_ok=True)
                del self._pinned[name]
        self._replaced_before, self._replaced = self._replaced, {}

    def _sweep(self, staying: Mapping[int, Mapping[str, Any]]) -> None:
        """Delete remains of a kill and of checkpoints that a resumed run skipped; once per process."""
        held = {file.name for file in self._files.values()} | set(self._replaced)
        for number, entry in staying.items():
            with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError, OSError):
                for file in read_list(self._directory, entry, number).values():
                    if file.name not in held:
                        self._pinned.setdefault(file.name, set()).add(number)
        folders = [self._directory, *self._directory.glob("clients/*/")]
        for path in (path for folder in folders for path in folder.iterdir()):
            name = str(path.relative_to(self._directory))
            is_own = OWN_STATE.fullmatch(path.name) and not path.is_dir()
            if is_own and name not in held and name not in self._pinned:
                path.unlink(missing_ok=True)
        self._swept = True
