"""Data that leave a node, by method: recorded from the replies of a small run in this process.

``python -m runtimes.describe.traffic`` writes docs/what-leaves-a-node.md.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args, get_origin

from flwr.app import ConfigRecord, Message, MetricRecord

from clients.app import app
from clients.registry import available_methods, load_method
from common.config import Config
from common.config_values import merge
from common.defaults import PROJECT_ROOT
from common.errors import InapplicableKeyError
from common.files import read_text, write_atomic
from common.parameters import class_parameters
from common.records import DESCRIBE, GET_STATE, PRELUDE, array_records
from common.sections import Value
from runtimes.sequential import SequentialGrid
from server.experiment import run_experiment
from server.records.progress import NoProgress

PAGE = PROJECT_ROOT / "docs" / "what-leaves-a-node.md"
_MARK = "<!-- recorded -->\n"
_SMALL: dict[str, Value] = {
    "rounds": 1, "clients.count": 3, "clients.fraction": 1.0, "clients.evaluate-fraction": 1.0,
    "local.epochs": 0, "local.steps": 2, "local.batch-size": 8, "checkpoint.every": 1,
}  # fmt: skip


@dataclass
class Traffic:
    """The content of the replies to messages of one type.

    Attributes
    ----------
    sections, metrics, values : set of str
        Names of sections of arrays, of metrics, and of other values.
    entries : int
        The largest number of arrays in a section ``arrays``.
    """

    sections: set[str] = field(default_factory=set)
    metrics: set[str] = field(default_factory=set)
    values: set[str] = field(default_factory=set)
    entries: int = 0

    def add(self, reply: Message) -> None:
        """Record a reply."""
        sections = array_records(reply.content)
        self.sections |= sections.keys()
        self.entries = max(self.entries, len(sections.get("arrays", ())))
        for record in reply.content.values():
            if isinstance(record, MetricRecord):
                self.metrics |= record.keys()
            elif isinstance(record, ConfigRecord):
                self.values |= record.keys()


class RecordingGrid(SequentialGrid):
    """Carries messages in this process and takes note of all replies, by message type."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.traffic: dict[str, Traffic] = {}

    def exchange(self, messages: list[Message]) -> Iterator[Message]:
        """Carry messages and record the replies."""
        for message, reply in zip(messages, super().exchange(messages), strict=True):
            if not reply.has_error():
                kind = message.metadata.message_type.removesuffix(".default")
                self.traffic.setdefault(kind, Traffic()).add(reply)
            yield reply


def recorded(method: str, options: Mapping[str, Value] | None = None) -> dict[str, Traffic]:
    """Run a method for a round; return message type → what the replies to such messages held."""
    example = load_method(method, {}).example
    with tempfile.TemporaryDirectory() as folder:
        fixed: dict[str, Value] = {"method.name": method, "run.directory": str(Path(folder) / "run")}
        config = Config.from_flat(merge(_SMALL, example, options or {}, fixed))
        with RecordingGrid(app, config.clients.count, config.flat()) as grid:
            run_experiment(config, grid, NoProgress())
        return grid.traffic


def page(text: str) -> str:
    """Return docs/what-leaves-a-node.md with its recorded part, which follows the mark, regenerated."""
    plain = recorded("fedavg")
    head = text.partition(_MARK)[0] + _MARK
    rows = [
        f"| once, at the start | {_code(plain[DESCRIBE].metrics | plain[DESCRIBE].values)} |",
        f"| after training | `arrays`, the trained model; {_code(plain['train'].metrics)} |",
        f"| after evaluating, if asked to | {_code(plain['evaluate'].metrics)} |",
        "",
        "| method | in addition, after a job | before a round | state in checkpoints | labels |",
        "|---|---|---|---|---|",
        *(_row(name, recorded(name), plain) for name in available_methods()),
    ]
    return "\n".join([head + "| every method | |", "|---|---|", *rows]) + "\n"


def _row(name: str, traffic: Mapping[str, Traffic], plain: Mapping[str, Traffic]) -> str:
    more: set[str] = set()
    for kind in ("train", "evaluate"):
        more |= traffic[kind].sections | traffic[kind].metrics
        more -= plain[kind].sections | plain[kind].metrics
    before = traffic.get(PRELUDE, Traffic()).sections
    state = traffic.get(GET_STATE, Traffic()).sections
    return f"| {name} | {_code(more)} | {_code(before)} | {_code(state)} | {'; '.join(_labels(name))} |"


def _labels(name: str) -> Iterator[str]:
    """Return how a method reveals labels, with its defaults or with another choice of a parameter."""
    strategy = load_method(name, {}).make_strategy()
    if reason := strategy.how_labels_leak():
        yield reason
        return
    for parameter, (annotation, _) in class_parameters(type(strategy)).items():
        for choice in get_args(annotation) if get_origin(annotation) is Literal else ():
            try:
                other = load_method(name, {parameter.replace("_", "-"): choice}).make_strategy()
            except InapplicableKeyError:  # it applies only together with another parameter
                continue
            if reason := other.how_labels_leak():
                yield reason


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


if __name__ == "__main__":
    write_atomic(PAGE, page(read_text(PAGE)).encode())
