"""A report on settings: where the runs differ, what they ran on, and how to repeat them."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.comparison.groups import distinct_names
from analysis.comparison.reported import Reported
from analysis.page.parts import Code, Part, Table, Text
from analysis.reading.run_directory import read_summary
from analysis.reading.runs import Run, differing_keys
from common.defaults import default_values

EXPERIMENT = "experiment"  # the heading of keys without a section, such as rounds


def differences(reported: Reported) -> list[Part]:
    """Return the keys in which the runs differ, or in which a single run differs from the defaults."""
    if len(reported.runs) > 1:
        keys = differing_keys(reported.runs)
        names = distinct_names([run.path for run in reported.runs])
        rows = [[name, *_values(run.config, keys)] for run, name in zip(reported.runs, names, strict=True)]
        return [Table(["run", *keys], rows)] if keys else []
    (run,) = reported.runs
    defaults, config = {**default_values(), **run.defaults}, run.config
    keys = [key for key, value in config.items() if key not in defaults or defaults[key] != value]
    if not keys:
        return [Text("All keys have their defaults.")]
    note = Text(
        "Keys that differ from their defaults; config.toml in the run directory has all, and the defaults of"
        " what they name.",
        is_remark=True,
    )
    sections: dict[str, list[list[str]]] = {}
    for key in sorted(keys, key=lambda key: "." in key):  # those without a section first
        section = key.partition(".")[0] if "." in key else EXPERIMENT
        sections.setdefault(section, []).append([key, str(config[key])])
    return [note, *(Table([section, "value"], rows) for section, rows in sections.items())]


def environment(reported: Reported) -> list[Part]:
    """Return versions, hardware and memory; for several runs, all distinct values."""
    found: dict[str, dict[str, None]] = {}
    for run in reported.runs:
        for name, value in _environment(run).items():
            found.setdefault(name, {})[value] = None
    return (
        [Table(["", "value"], [[name, ", ".join(values)] for name, values in found.items()])] if found else []
    )


def _environment(run: Run) -> dict[str, str]:
    summary = read_summary(run.path)
    versions = summary.get("versions")
    rows = {str(name): str(text) for name, text in versions.items()} if isinstance(versions, Mapping) else {}
    rows |= {key: str(run.config[key]) for key in ("device", "runtime.name") if key in run.config}
    hardware = summary.get("hardware")
    rows |= {str(name): str(text) for name, text in hardware.items()} if isinstance(hardware, Mapping) else {}
    memory = summary.get("peak_rss_mb")
    return rows | ({"peak memory (MB)": f"{memory:.0f}"} if isinstance(memory, int | float) else {})


def repeat(reported: Reported) -> list[Part]:
    """Return the original command lines, and one per run that needs only the run directory."""
    given = list(dict.fromkeys(command for request in reported.requests for command in request.commands))
    parts: list[Part] = (
        [Text("As it was started, in a checkout of the project:"), Code("\n".join(given))] if given else []
    )
    stored = [run.path for run in reported.runs if (run.path / "config.toml").is_file()]
    if stored:
        parts += [
            Text("From the configuration that is stored with each run, into a new directory:"),
            Code("\n".join(map(_again, _first(stored)))),
        ]
        if len(stored) > len(_first(stored)):
            parts.append(
                Text(f"Likewise for the other {len(stored) - len(_first(stored))} runs.", is_remark=True)
            )
    return parts


def _first(paths: Sequence[Any]) -> Sequence[Any]:
    return paths[:3]


def _again(path: Any) -> str:
    config, directory = path / "config.toml", f"{path}-again"
    return shlex.join(["python", "run_simulation.py", str(config), "--run-dir", directory])


def _values(config: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    return [str(config.get(key, "-")) for key in keys]
