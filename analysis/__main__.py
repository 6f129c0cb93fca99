"""``python -m analysis <command> ...``: the modules of this package with a ``main``, and `ELSEWHERE`."""

import importlib
import pkgutil
import re
import sys
from collections.abc import Sequence

import analysis.comparison
import analysis.live
import analysis.plots
from common.command_line import end_as_by_ctrl_c, guarded, show_warnings_as_lines
from common.errors import UserError, nearest

# Commands that compute with a run's model or data live in higher layers: listed by name, not imported.
ELSEWHERE = {
    "confusion": "runtimes.prediction.confusion",
    "predict": "runtimes.prediction.predict",
    "splits": "runtimes.splits",
}


def commands() -> dict[str, str]:
    """Return command → module, without importing the modules."""
    found = dict(ELSEWHERE)
    for package in (analysis.plots, analysis.comparison, analysis.live):
        for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            loader = module.module_finder.find_spec(module.name, None)
            source = loader.loader.get_source(module.name) if loader and loader.loader else ""  # type: ignore[attr-defined]
            if re.search(r"^def main\(", source or "", re.MULTILINE):
                found[module.name.rpartition(".")[2].replace("_", "-")] = module.name
    return dict(sorted(found.items()))


def summary(module: str) -> str:
    """Return the first line of a module's docstring."""
    return (
        (importlib.import_module(module).__doc__ or "")
        .partition("\n")[0]
        .partition("``python -m")[0]
        .strip(" :")
    )


def main(arguments: Sequence[str]) -> int:
    """Run the command named by the first argument; without one, list the commands."""
    known = commands()
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: python -m analysis COMMAND ... (COMMAND --help for its options)\n")
        for name, module in known.items():
            print(f"  {name:22} {summary(module)}")
        return 0
    name = arguments[0]
    if name not in known:
        raise UserError(f"there is no command '{name}'{nearest(name, known)} (available: {', '.join(known)})")
    return int(importlib.import_module(known[name]).main(arguments[1:]))


if __name__ == "__main__":
    show_warnings_as_lines()
    end_as_by_ctrl_c()
    sys.exit(guarded(lambda: main(sys.argv[1:])))
