"""The client states of an in-process Grid: in memory up to a budget, the rest in files."""

import json
import shutil
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from common.files import read_regular, write_atomic
from common.records import MET, content_bytes, to_payload, to_record
from common.state_files import SEPARATOR, decode_state, encode_state, notes_of

_CLIENTS_PER_FOLDER = 1000
_CONFIGS = "configs"
_STAND_IN = "\x1f"  # for the separator of names, which occurs in names of stored sections


class ClientStates:
    """client id → the state of its ``Context``.

    States beyond the budget go to files, least recently used first, unless a file has them already: files of
    checkpoints count, so that committed states are not written again. States that were only read go first,
    so that reading every state writes none.

    Parameters
    ----------
    budget : int
        Bytes of arrays that stay in memory; 0 for all.
    """

    def __init__(self, budget: int = 0) -> None:
        self.budget = budget
        self._folder: Path | None = None
        self._held: OrderedDict[int, RecordDict] = OrderedDict()
        self._bytes: dict[int, int] = {}
        self._total = 0
        self._files: dict[int, Path] = {}  # that hold a client's current state
        self._open: dict[int, dict[str, object]] = {}  # in use, with their content when opened

    def spill_below(self, folder: Path) -> None:
        """Use a folder for the files; remove files left there by a killed run."""
        self._folder = folder
        shutil.rmtree(folder, ignore_errors=True)

    def open(self, client_id: int) -> RecordDict:
        """Return a client's state, empty if it has none; it may be changed in place until `settle`."""
        state = self._held.get(client_id)
        if state is None:
            path = self._files.get(client_id)
            state = self._held[client_id] = RecordDict() if path is None else _read(path)
            self._count(client_id, state)
        self._held.move_to_end(client_id)
        self._open.setdefault(client_id, dict(state.items()))
        return state

    def settle(self, client_ids: Iterable[int] | None = None) -> None:
        """Record changes of the states in use (by default of all), and keep within the memory budget."""
        for client_id in list(self._open) if client_ids is None else client_ids:
            before = self._open.pop(client_id, None)
            if before is None:
                continue
            state = self._held[client_id]
            now = dict(state.items())
            if before.keys() != now.keys() or any(now[name] is not before[name] for name in now):
                self._forget_file(client_id)
                self._count(client_id, state)
            elif (
                client_id in self._files and self._excess > 0
            ):  # instead of a state that would have to be written
                self._drop(client_id)
                continue
            if now.keys() <= {MET}:
                self._drop(client_id)
        for client_id in self._surplus():
            self._spill(client_id)

    def copies(self, client_ids: Iterable[int]) -> "ClientStates":
        """Return what these clients have, to be changed without consequences."""
        copied = ClientStates()
        for client_id in client_ids:
            state = RecordDict(dict(self.open(client_id).items()))
            copied._held[client_id] = state
            copied._count(client_id, state)
        self.settle()
        return copied

    def adopt(self, client_id: int, path: Path) -> None:
        """Record that a file has a client's current state; its owner deletes the file."""
        self.settle()
        self._forget_file(client_id)
        self._files[client_id] = path

    def clear(self) -> None:
        """Discard all states, and remove the files created here."""
        self._held.clear()
        self._bytes.clear()
        self._files.clear()
        self._open.clear()
        self._total = 0
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def num_held(self) -> int:
        """Number of states in memory."""
        return len(self._held)

    def _count(self, client_id: int, state: RecordDict) -> None:
        size = content_bytes(state)
        self._total += size - self._bytes.get(client_id, 0)
        self._bytes[client_id] = size

    @property
    def _excess(self) -> int:
        """Bytes in memory beyond the budget, if there is one."""
        return self._total - self.budget if self.budget and self._folder is not None else 0

    def _surplus(self) -> list[int]:
        """Return the clients to evict: least recently used, not in use, and storable in a file.

        Its cost is proportional to their number, not to the number of states in memory.
        """
        chosen: list[int] = []
        left = self._excess
        for client_id, state in self._held.items():
            if left <= 0:
                break
            if client_id not in self._open and all(map(_is_storable, state.values())):
                chosen.append(client_id)
                left -= self._bytes[client_id]
        return chosen

    def _spill(self, client_id: int) -> None:
        state = self._held[client_id]
        if client_id not in self._files:
            assert self._folder is not None
            name = f"{client_id // _CLIENTS_PER_FOLDER:06d}/client-{client_id:06d}.safetensors"
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not needed after a kill: a resumed run starts with the states of its checkpoint.
            write_atomic(path, _encode(state), synced=False)
            self._files[client_id] = path
        self._drop(client_id)

    def _drop(self, client_id: int) -> None:
        del self._held[client_id]
        self._total -= self._bytes.pop(client_id, 0)

    def _forget_file(self, client_id: int) -> None:
        path = self._files.pop(client_id, None)
        if path is not None and self._folder is not None and path.is_relative_to(self._folder):
            path.unlink(missing_ok=True)


def _is_storable(record: object) -> bool:
    return isinstance(record, ArrayRecord | ConfigRecord)


def _encode(state: RecordDict) -> bytes:
    configs = {name: dict(record) for name, record in state.config_records.items() if name != MET}
    sections = {name.replace(SEPARATOR, _STAND_IN): section for name, section in to_payload(state).items()}
    return encode_state(sections, {_CONFIGS: json.dumps(configs)})


def _read(path: Path) -> RecordDict:
    content = read_regular(path)
    sections = decode_state(content).items()
    state = RecordDict({name.replace(_STAND_IN, SEPARATOR): to_record(section) for name, section in sections})
    for name, values in json.loads(notes_of(content).get(_CONFIGS, "{}")).items():
        state[name] = ConfigRecord(values)
    return state
