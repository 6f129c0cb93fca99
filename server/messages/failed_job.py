"""A failed client job, stored on disk so that it can be replayed by itself."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flwr.app import ConfigRecord, RecordDict
from safetensors import SafetensorError
from safetensors.torch import load, save

from common.binary_files import in_order, order_of
from common.errors import UserError
from common.files import read_json, read_regular, write_atomic
from common.records import CONFIG, Payload, Tensors, config_record, to_payload, to_record
from common.sections import Value


@dataclass
class FailedJob:
    """The inputs of a client job that failed.

    Attributes
    ----------
    client_id : int
        The client.
    job : str
        The message type, ``train`` or ``evaluate``.
    sections : Payload
        The message's sections.
    message_config : dict
        The message's ``config`` record.
    state : Payload
        The client's state before the job.
    run_config : dict
        The flat configuration of the run.
    """

    client_id: int
    job: str
    sections: Payload
    message_config: dict[str, Value]
    state: Payload
    run_config: dict[str, Value]

    @classmethod
    def from_message(
        cls, client_id: int, job: str, content: RecordDict, state: Payload, run_config: dict[str, Value]
    ) -> "FailedJob":
        """Extract the parts from a message's content."""
        message_config = dict(config_record(content))
        return cls(client_id, job, to_payload(content), message_config, state, run_config)  # type: ignore[arg-type]

    def content(self) -> RecordDict:
        """Rebuild the message's content."""
        records = {name: to_record(section) for name, section in self.sections.items()}
        return RecordDict({**records, CONFIG: ConfigRecord(dict(self.message_config))})

    def save(self, directory: Path) -> None:
        """Write the job into `directory`."""
        directory.mkdir(parents=True, exist_ok=True)
        description = {
            "client_id": self.client_id,
            "job": self.job,
            "message_config": self.message_config,
            "run_config": self.run_config,
            "sections": list(self.sections),
            "state": list(self.state),
        }
        for kind, sections in (("sections", self.sections), ("state", self.state)):
            for index, section in enumerate(sections.values()):
                tensors = {name: value.contiguous() for name, value in section.items()}
                write_atomic(directory / f"{kind}-{index}.safetensors", save(tensors, order_of(tensors)))
        write_atomic(directory / "job.json", json.dumps(description, indent=1).encode())

    @classmethod
    def load(cls, directory: Path) -> "FailedJob":
        """Read a job that ``save`` wrote.

        Raises
        ------
        UserError
            If a file is missing, or is not what ``save`` wrote.
        """
        file = directory / "job.json"
        description = _checked(read_json(file), file)

        def read(kind: str) -> Payload:
            return {
                name: _read_section(directory / f"{kind}-{index}.safetensors")
                for index, name in enumerate(description[kind])
            }

        return cls(
            description["client_id"],
            description["job"],
            read("sections"),
            description["message_config"],
            read("state"),
            description["run_config"],
        )


_FIELDS = {
    "client_id": int, "job": str, "message_config": dict, "run_config": dict, "sections": list, "state": list,
}  # fmt: skip


def _checked(description: Any, file: Path) -> dict[str, Any]:
    """Return what ``job.json`` holds, if it has the fields of a job."""
    if not isinstance(description, dict):
        raise UserError(f"{file} is not a recorded job: it is not a table")
    for name, kind in _FIELDS.items():
        if type(description.get(name)) is not kind:
            raise UserError(
                f"{file} is not a recorded job: its '{name}' is missing, or is not of type {kind.__name__}"
            )
    names = [*description["sections"], *description["state"]]
    if not all(isinstance(name, str) for name in names):
        raise UserError(f"{file} is not a recorded job: a section has no name")
    if not all(isinstance(value, Value) for value in description["message_config"].values()):
        raise UserError(f"{file} is not a recorded job: its 'message_config' holds more than plain values")
    return description


def _read_section(file: Path) -> Tensors:
    try:
        content = read_regular(file)
        return in_order(load(content), content)
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"cannot read {file}: {error}") from None
