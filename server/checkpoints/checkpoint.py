"""Checkpoints: immutable tensor files, and one manifest whose atomic appearance commits them.

``checkpoints/round-000010.json`` names the files of the round with their hashes, and has a hash of itself.
The files are the global model, the strategy's tensors, and a list of the files of clients that keep state. A
client's file is written only if the client has trained since the last checkpoint, and only such clients are
appended to the list (``server.checkpoints.client_files``), so a checkpoint costs only what has changed.
Clients' files are below ``clients/``, a thousand to a folder. The last two manifests are kept, with the files
that they name, as are those marked to stay: for good, or as the best until there is a better one. Files and
folders with other names are left alone.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from common.binary_files import in_order, order_of
from common.checkpoint_files import (
    MANIFEST,
    committed_rounds,
    manifest_path,
    no_such_round,
    read_manifest,
    stem,
)
from common.errors import UserError
from common.files import read_regular, sync, write_atomic
from common.records import Payload, Tensors
from common.seal import seal
from common.state_files import encode_state
from server.checkpoints.client_files import ClientFiles, StateFile, StoredStates, read_list

ALWAYS, BEST = "always", "best"  # marks of a checkpoint that stays
_KEPT = 2
_PARTS = r"(arrays|strategy)-round-\d{6,}\.safetensors|clients-round-\d{6,}\.csv"
# What was written, and what a kill may have left of it.
_OWN = re.compile(rf"\.?({MANIFEST.pattern}|{_PARTS})(\.\d+)?(\.tmp)?")
_CLIENTS_PER_FOLDER = 1000


@dataclass
class Checkpoint:
    """Everything that a run needs to resume after a round.

    Attributes
    ----------
    server_round : int
        The last finished round.
    arrays : Tensors
        The global model.
    strategy : tuple[dict, Tensors]
        The strategy's attributes (``server.checkpoints.state_codec``).
    progress : dict
        Plain values of the round loop: early stop, best round, row counts of the growing files, seconds.
    config : dict
        The flat configuration.
    clients : Mapping[int, Payload]
        client id → state, of a checkpoint that was read; ``commit`` is given the states separately.
    """

    server_round: int
    arrays: Tensors
    strategy: tuple[dict[str, Any], Tensors]
    progress: dict[str, Any]
    config: dict[str, Any]
    clients: Mapping[int, Payload] = field(default_factory=dict)


@dataclass(frozen=True)
class _Committed:
    """What a manifest says about the files of its checkpoint."""

    number: int
    marks: tuple[str, ...]
    names: frozenset[str]
    clients: Mapping[str, Any]


class CheckpointStore:
    """The folder ``checkpoints/`` of a run directory.

    Parameters
    ----------
    directory : Path
        The folder; created if it does not exist.

    Attributes
    ----------
    passed_over : list of str
        Checkpoints that `load_latest` could not use, and why.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.passed_over: list[str] = []
        self._clients = ClientFiles(directory)
        self._committed: dict[str, _Committed] = {}  # manifest → content, as read or written

    def commit(
        self,
        checkpoint: Checkpoint,
        changed: Iterable[tuple[int, Payload]] = (),
        adopt: Callable[[int, Path], None] | None = None,
        marks: Collection[str] = (),
    ) -> None:
        """Write a checkpoint; a kill before the manifest appears leaves the previous checkpoint in force.

        Parameters
        ----------
        checkpoint : Checkpoint
            Everything but the clients' states.
        changed : iterable of (client id, state)
            The states that changed since the last commit, written one by one as they arrive; the files of the
            other clients are carried over.
        adopt : callable, optional
            Called with the file of each client's current state.
        marks : collection of str
            Why the checkpoint stays: `ALWAYS`, or `BEST` until a later one is better. Without marks it is
            deleted once two others have followed.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        name = stem(checkpoint.server_round)
        tree, tensors = checkpoint.strategy
        written = self._write_states(name, changed)
        manifest = {
            "round": checkpoint.server_round,
            "config": checkpoint.config,
            "progress": checkpoint.progress,
            "strategy": tree,
            "files": {
                "arrays": self._write(f"arrays-{name}.safetensors", checkpoint.arrays),
                "strategy": self._write(f"strategy-{name}.safetensors", tensors),
            },
            "clients": self._clients.commit(name),
            **({"keep": sorted(marks)} if marks else {}),
        }
        write_atomic(self.directory / f"{name}.json", seal(manifest))
        self._committed.pop(f"{name}.json", None)
        staying = self._collect_garbage(checkpoint.server_round)
        if adopt is not None:
            for client_id, path in written.items():
                adopt(client_id, path)
        self._clients.collect_garbage(staying)

    def _write_states(self, stem: str, changed: Iterable[tuple[int, Payload]]) -> dict[int, Path]:
        """Write the states of clients to disk, and return each client's file."""
        written: dict[int, Path] = {}
        for client_id, state in changed:
            folder = f"clients/{client_id // _CLIENTS_PER_FOLDER:06d}"
            name = f"{folder}/client-{client_id:06d}-{stem}.safetensors"
            path = self.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            content = encode_state(state)
            write_atomic(path, content, synced=False)
            self._clients.put(client_id, StateFile(name, hashlib.sha256(content).hexdigest()))
            written[client_id] = path
        if written:
            sync(written.values())
        return written

    def client_state(self, client_id: int) -> Payload | None:
        """Return a client's state in the last checkpoint that was written or read; None if it has none."""
        file = self._clients.of(client_id)
        return None if file is None else StoredStates(self.directory, {client_id: file})[client_id]

    def load_latest(self, check: Callable[[Mapping[str, Any]], None] | None = None) -> Checkpoint | None:
        """Read the newest usable checkpoint; None if there never was one.

        Parameters
        ----------
        check : callable, optional
            Checks the plain values of a checkpoint; raises `ValueError` if it cannot be used.

        Raises
        ------
        UserError
            If there are checkpoints but none can be used.
        """
        self.passed_over = []
        for path in self._manifests():
            try:
                checkpoint = self._read(path)
                if check:
                    check(checkpoint.progress)
                return checkpoint
            # A manifest or a tensor file may be malformed in any way.
            except (ValueError, LookupError, TypeError, AttributeError, OSError, SafetensorError) as error:
                self.passed_over.append(f"{path.name}: {error}")
        if self.passed_over:
            raise UserError(
                f"no checkpoint in {self.directory} can be used ({'; '.join(self.passed_over)}): put the"
                " files back from a copy, or start the run again in another directory"
            )
        return None

    def load_round(self, server_round: int) -> Checkpoint:
        """Read the checkpoint of a round.

        Raises
        ------
        UserError
            If there is none, or it cannot be used.
        """
        path = manifest_path(self.directory, server_round)
        if not path.exists():
            raise UserError(no_such_round(self.directory, server_round))
        try:
            return self._read(path)
        except (ValueError, LookupError, TypeError, AttributeError, OSError, SafetensorError) as error:
            raise UserError(f"{path} cannot be used: {error}") from None

    def latest_config(self) -> dict[str, Any] | None:
        """Return the configuration of the newest readable manifest; None if there is none."""
        for path in self._manifests():
            try:
                return dict(read_manifest(path)["config"])
            except (ValueError, LookupError, TypeError, AttributeError, OSError):
                continue
        return None

    def _manifests(self) -> list[Path]:
        """Return the files with the name of a manifest, newest first."""
        return [
            manifest_path(self.directory, number) for number in reversed(committed_rounds(self.directory))
        ]

    def _read(self, path: Path) -> Checkpoint:
        manifest = read_manifest(path)
        files, clients = manifest["files"], read_list(self.directory, manifest["clients"], manifest["round"])
        states = StoredStates(self.directory, clients)
        states.check()
        checkpoint = Checkpoint(
            server_round=manifest["round"],
            arrays=self._load(files["arrays"]),
            strategy=(manifest["strategy"], self._load(files["strategy"])),
            progress=manifest["progress"],
            config=manifest["config"],
            clients=states,
        )
        self._clients.restore(clients)
        return checkpoint

    def _write(self, name: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
        content = save({key: value.contiguous() for key, value in tensors.items()}, order_of(tensors))
        write_atomic(self.directory / name, content)
        return {"name": name, "sha256": hashlib.sha256(content).hexdigest()}

    def _load(self, file: Mapping[str, str]) -> Tensors:
        content = read_regular(self.directory / file["name"])
        if hashlib.sha256(content).hexdigest() != file["sha256"]:
            raise ValueError(f"{file['name']} is damaged")
        return in_order(load(content), content)

    def _collect_garbage(self, server_round: int) -> dict[int, Mapping[str, Any]]:
        """Delete what no kept manifest names: remains of a kill, and checkpoints that a resumed run skipped.

        Returns
        -------
        dict[int, Mapping[str, Any]]
            Round → the manifest's entry on clients, for the checkpoints that are marked to stay.
        """
        kept: set[str] = set()
        staying: dict[int, Mapping[str, Any]] = {}
        num_read, has_best = 0, False
        for path in self._manifests():
            try:
                found = self._committed_in(path)
            except (ValueError, LookupError, TypeError, AttributeError, OSError):
                continue
            if found.number > server_round:
                continue
            if ALWAYS in found.marks or (BEST in found.marks and not has_best):
                staying[found.number] = found.clients
            has_best = has_best or BEST in found.marks
            if num_read < _KEPT or found.number in staying:
                kept |= found.names
            num_read += 1
        for path in self.directory.iterdir():
            if _OWN.fullmatch(path.name) and path.name not in kept and not path.is_dir():
                path.unlink(missing_ok=True)
                self._committed.pop(path.name, None)
        return staying

    def _committed_in(self, path: Path) -> _Committed:
        """Read a manifest, cached since a run may keep hundreds."""
        if path.name not in self._committed:
            manifest = read_manifest(path)
            names = {path.name, *(file["name"] for file in manifest["files"].values())}
            clients, marks = manifest["clients"], tuple(manifest.get("keep", ()))
            names.add(clients.get("list", ""))
            self._committed[path.name] = _Committed(manifest["round"], marks, frozenset(names), clients)
        return self._committed[path.name]
