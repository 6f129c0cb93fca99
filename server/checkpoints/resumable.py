"""Checks on resume: whether a checkpoint fits the run, and whether plug-in code has changed since."""

import functools
import hashlib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flwr.app import Array

from common.errors import UserError
from common.plugins import folders
from datasets.digests import FORM, form_digests, split_digests
from datasets.partition_scheme import partition_clients
from server.checkpoints.checkpoint import Checkpoint
from server.parts import Parts


def check_fits(checkpoint: Checkpoint, model: Mapping[str, Array], num_clients: int) -> None:
    """Refuse a checkpoint of another model or of more clients, as happens when code has changed.

    Raises
    ------
    UserError
        If a resumed run could not work with it, or would ignore parts of it.
    """
    there = {
        name: f"{str(x.dtype).removeprefix('torch.')} {tuple(x.shape)}"
        for name, x in checkpoint.arrays.items()
    }
    here = {name: f"{array.dtype} {tuple(array.shape)}" for name, array in model.items()}
    for name in [*here, *there]:
        if here.get(name) != there.get(name):
            raise UserError(
                f"cannot resume: '{name}' of the model is {there.get(name, 'missing')} in the checkpoint and"
                f" {here.get(name, 'missing')} now: was the model's code changed?"
            )
    if strangers := sorted(client for client in checkpoint.clients if not 0 <= client < num_clients):
        raise UserError(f"cannot resume: the checkpoint has a state of client {strangers[0]}, which is none")


class RunData:
    """Refuses to resume with other data than those with which the run began.

    They are compared by short digests. Of data that the nodes have of their own, the numbers of samples and
    labels that they report are compared.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def state(self) -> dict[str, Any]:
        """Return the digest of each part of the data."""
        return self._digests

    @functools.cached_property
    def _digests(self) -> dict[str, Any]:
        parts, dataset = self._parts, self._parts.dataset
        digests = dict(zip(FORM, form_digests(dataset), strict=True))
        splits = {"training": dataset.train, "validation": dataset.validation, "test": dataset.test}
        for name, split in splits.items():
            if split is not None:
                of_split = (f"the labels of the {name} samples", f"the inputs of the {name} samples")
                digests |= zip(of_split, split_digests(split), strict=True)
        if parts.config.partition.name == "node":
            held = (parts.clients.num_examples, parts.clients.label_counts)
            reported = hashlib.sha256(b"".join(counts.tobytes() for counts in held)).hexdigest()
            return {**digests, "how many samples and labels the nodes have": reported}
        partition = partition_clients(parts.config, dataset)
        return {**digests, "which samples each client has": partition.sha256}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Compare with the digests of when the run began.

        Raises
        ------
        UserError
            If a part of the data is another one.
        """
        own = self._digests
        if changed := [name for name, digest in state.items() if own.get(name) != digest]:
            raise UserError(
                f"cannot resume with other data than the run began with ({'; '.join(changed)}): give it the"
                " original data, read by the same code, or start it again in another directory"
            )


class PluginCode:
    """Detects on resume that plug-in files have changed since the checkpoint was written.

    Parameters
    ----------
    say : callable
        Prints a line for the user.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def state(self) -> dict[str, Any]:
        """Return the hash of each file that was imported from a plug-in folder."""
        where = folders()
        files = [getattr(module, "__file__", None) for module in list(sys.modules.values())] if where else []
        return {
            "files": {
                Path(file).relative_to(folder).as_posix(): _sha256(Path(file))
                for file in files
                for folder in where
                if file and file.startswith(f"{folder}{os.sep}")
            }
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Report what has changed; not an error, since a bug may have been fixed."""
        changed = sorted(name for name, kept in state["files"].items() if kept not in _hashes(name))
        if changed:
            names = ", ".join(changed)
            self._say(
                f"plug-ins have changed since the checkpoint ({names}): later rounds run the changed code"
            )


def _hashes(name: str) -> set[str]:
    return {_sha256(folder / name) for folder in folders()}


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
