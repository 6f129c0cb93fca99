"""The notebook runs from top to bottom, and a method that is edited in it is the edited one."""

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest

from common.defaults import PROJECT_ROOT

nbformat = pytest.importorskip("nbformat", reason="needs nbclient and ipykernel, of the extra 'dev'")
nbclient = pytest.importorskip("nbclient", reason="needs nbclient and ipykernel, of the extra 'dev'")
pytest.importorskip("ipykernel", reason="needs nbclient and ipykernel, of the extra 'dev'")

NOTEBOOK = PROJECT_ROOT / "notebooks" / "colab.ipynb"
SMALL = """
SETTINGS = {"clients.count": 3, "local.steps": 1, "rounds": 2, "model.name": "linear"}
"""
AGAIN = """
path = MINE / "clients" / "sign_pull.py"
path.write_text(path.read_text().replace("grad + ", "grad * 0 + "))
run(RUNS / "edited", SETTINGS | {"method.name": "sign-pull", "method.strength": 0.01}, "--plugins", str(MINE))
continued = run(fedavg, SETTINGS | {"method.name": "fedavg", "rounds": 3})
assert len(continued) == 4
assert run(fedavg, SETTINGS | {"method.name": "fedavg", "rounds": 3}).equals(continued)
"""


def read() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def summary(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "summary.json").read_text()))


@pytest.mark.slow
def test_it_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWERBED_RUNS", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = copy.deepcopy(read())
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            cell.source = SMALL
    notebook.cells.append(nbformat.v4.new_code_cell(AGAIN))
    client = nbclient.NotebookClient(
        notebook, timeout=280, kernel_name="python3", resources={"metadata": {"path": str(NOTEBOOK.parent)}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    texts = [output["data"]["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    bars = [text for text in texts if "<progress" in text]
    assert len(bars) == 6  # one for each run, however many rounds it has
    assert '<progress value="2" max="2"' in bars[0]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 4
    assert not any(output["output_type"] == "error" for output in outputs)
    hashes = {name: summary(tmp_path / name)["model_sha256"] for name in ("scaffold", "sign-pull", "edited")}
    assert len(set(hashes.values())) == 3
    assert summary(tmp_path / "fedavg")["rounds"] == 3
    assert (tmp_path / "report.html").is_file()


def test_it_is_stored_without_outputs() -> None:
    notebook = read()
    nbformat.validate(notebook)
    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in notebook.cells)
    assert str(Path.home()) + os.sep not in NOTEBOOK.read_text(encoding="utf-8")


def test_its_method_is_the_one_of_the_documentation() -> None:
    text = (PROJECT_ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    (cell,) = (cell for cell in read().cells if cell.source.startswith("%%writefile"))
    assert f"```python\n{cell.source.partition(chr(10))[2]}\n```" in text
