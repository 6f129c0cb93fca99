"""Validation of client replies: they come from another machine, which may send anything."""

import math
from collections.abc import Collection, Iterator, Mapping

from flwr.app import Array, ArrayRecord, Message, MetricRecord

from common.errors import one_line, shown
from common.records import ARRAYS, METRICS, array_records, is_finite, to_tensors

NUM_EXAMPLES = "num-examples"
TRAINED = (NUM_EXAMPLES, "num-steps", "num-samples", "learning-rate", "train_loss", "seconds")
_COUNTS = (NUM_EXAMPLES, "num-steps", "num-samples", "seconds")
_MAX_RECORDS, _MAX_METRICS, _MAX_ARRAYS, _LONGEST_NAME = 64, 1000, 100_000, 300

Layout = tuple[str, tuple[int, ...]]


class ContentCheck:
    """Finds what is wrong with the content of replies.

    Parameters
    ----------
    references : Mapping[int, Mapping[str, Array]]
        client id → the model that it was sent: the names, shapes and dtypes that its ``"arrays"`` may have.
        Arrays of a method's own sections are compared with those of earlier replies.
    required : Collection[str], optional
        Metrics that a reply must have.
    most_examples : Mapping[int, int] or None
        client id → the number of examples that its node reported when it was met.
    sections : Collection[str] or None
        The sections that a reply may have in addition to the model; None: any.
    """

    def __init__(
        self,
        references: Mapping[int, Mapping[str, Array]],
        required: Collection[str],
        most_examples: Mapping[int, int] | None,
        sections: Collection[str] | None = None,
    ) -> None:
        self._references = references
        self._required = required
        self._sections = sections
        self._most_examples = most_examples or {}
        self._layouts: dict[tuple[object, str, str], tuple[int, Layout]] = {}
        self._expected_by_id: dict[int, dict[str, Layout]] = {}  # identity of one of `references` → layouts

    def fault(self, client_id: int, reply: Message) -> str:
        """Return why the content of a reply cannot be used; empty if it can."""
        return next(self._faults(client_id, reply), "")

    def _faults(self, client_id: int, reply: Message) -> Iterator[str]:
        records = reply.content
        if len(records) > _MAX_RECORDS:
            yield f"the reply has {len(records)} records, more than {_MAX_RECORDS}"
            return
        sections = array_records(records)
        group = self._group(client_id) if sections.keys() - {ARRAYS} else ()
        for name, record in sections.items():
            if len(record) > _MAX_ARRAYS or len(name) > _LONGEST_NAME:
                yield f"the reply's section {_named(name)} has too many arrays, or too long a name"
                return
            if self._sections is not None and name not in (ARRAYS, *self._sections):
                yield (
                    f"the reply has the section {_named(name)}, which the server half of the method does not"
                    " name in SECTIONS, so that it would not be used"
                )
                return
            yield from self._misfits(client_id, group, name, record)
            yield from _bad_values(name, record)
        yield from self._bad_metrics(client_id, records.get(METRICS))
        self._remember(client_id, group, sections)

    def _misfits(self, client_id: int, group: object, section: str, record: ArrayRecord) -> Iterator[str]:
        expected = self._expected(client_id) if section == ARRAYS else {}
        for key, array in record.items():
            layout = _layout(array)
            if section != ARRAYS:
                yield from self._misfits_of_others(client_id, (group, section, key), layout)
            elif key not in expected:
                yield f"the reply has an unknown array {_named(key)}"
            elif layout != expected[key]:
                yield f"the reply's array '{key}' is {_shown(layout)}, expected {_shown(expected[key])}"
        if missing := next((key for key in expected if key not in record), ""):
            yield f"the reply lacks the array '{missing}' of the model that the client was sent"

    def _expected(self, client_id: int) -> dict[str, Layout]:
        """Return the layouts of the model that a client was sent, cached for all that were sent the same."""
        if client_id not in self._references:
            return {}
        reference = self._references[client_id]
        if id(reference) not in self._expected_by_id:
            self._expected_by_id[id(reference)] = {key: _layout(array) for key, array in reference.items()}
        return self._expected_by_id[id(reference)]

    def _misfits_of_others(
        self, client_id: int, place: tuple[object, str, str], layout: Layout
    ) -> Iterator[str]:
        """Compare an array of a method's own section with earlier replies."""
        other, first = self._layouts.get(place, (client_id, layout))
        if layout != first:
            _, section, key = place
            yield (
                f"the reply's '{section}' has {_named(key)} as {_shown(layout)}, that of client"
                f" {other} as {_shown(first)}"
            )

    def _remember(self, client_id: int, group: object, sections: Mapping[str, ArrayRecord]) -> None:
        for section, record in sections.items():
            for key, array in record.items() if section != ARRAYS else ():
                self._layouts.setdefault((group, section, key), (client_id, _layout(array)))

    def _group(self, client_id: int) -> object:
        """Return a key that clients with models of the same size share."""
        return tuple(self._expected(client_id).values())

    def _bad_metrics(self, client_id: int, metrics: object) -> Iterator[str]:
        if not isinstance(metrics, MetricRecord):
            yield f"the reply lacks the metric '{NUM_EXAMPLES}'"
            return
        if len(metrics) > _MAX_METRICS:
            yield f"the reply has {len(metrics)} metrics, more than {_MAX_METRICS}"
            return
        values = dict(metrics.items())
        for name in self._required:
            if name not in values:
                yield f"the reply lacks the metric '{name}'"
            elif not isinstance(values[name], int | float):
                yield f"the reply's metric '{name}' is {shown(values[name])}, not a number"
        for name, value in values.items():
            if len(name) > _LONGEST_NAME or not name.isprintable():
                yield f"the reply has a metric with the name {_named(name)}"
            elif not all(map(math.isfinite, value if isinstance(value, list) else [value])):
                yield f"the reply's metric '{name}' is {shown(value)}"
            elif name in _COUNTS and isinstance(value, int | float) and value < 0:
                yield f"the reply's metric '{name}' is {value}, below 0"
        most, count = self._most_examples.get(client_id, math.inf), values[NUM_EXAMPLES]
        if count > most:  # type: ignore[operator]
            yield f"the reply counts {count} examples, but the node has described itself with {most}"


def _bad_values(section: str, record: ArrayRecord) -> Iterator[str]:
    for key, array in record.items():
        try:
            value = to_tensors({key: array})[key]
        except Exception as error:  # malformed bytes may raise anything
            reason = one_line(str(error))[:200]
            yield f"the reply's '{section}' has an array {_named(key)} that cannot be read: {reason}"
            return
        if value.is_complex():
            yield f"the reply's '{section}' has complex numbers in {_named(key)}"
        elif not is_finite(value):
            yield f"the reply's '{section}' has a value that is not finite in '{key}'"


def _named(name: str) -> str:
    return f"'{one_line(name)}'" if len(name) <= _LONGEST_NAME else f"of {len(name)} characters"


def _layout(array: Array) -> Layout:
    return array.dtype, tuple(array.shape)


def _shown(layout: Layout) -> str:
    return f"{layout[0]}{layout[1]}"
