"""The README's example of a method is the method's own file, and its picture is what its caption says."""

import inspect
import re

import pandas as pd

from clients.fedprox import FedProx
from common.defaults import PROJECT_ROOT
from runtimes.describe.evidence import RESULTS


def test_the_example_is_the_real_fedprox() -> None:
    text = (PROJECT_ROOT / "README.md").read_text()
    example = next(
        block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "FedProx" in block
    )
    source = re.sub(r'\n        """[^"]*"""', "", inspect.getsource(FedProx))
    assert source.strip() == example.strip()


def test_the_caption_has_the_command_the_budget_and_the_seeds_of_its_picture() -> None:
    readme, results = ((PROJECT_ROOT / name).read_text() for name in ("README.md", "docs/results.md"))
    (caption,) = re.findall(r"^!\[.*\]\(docs/figures/methods-cifar10.png\)\n\n(.*)$", readme, re.MULTILINE)
    section = results.partition("\n## Methods under label skew on CIFAR-10")[2].partition("\n## ")[0]
    command, *_ = re.findall(r"```bash\n(.*?)\n```", section, re.DOTALL)
    words = set(command.replace("\\\n", " ").split()) - {"--run-dir", "runs/methods"}
    assert words <= set(re.split(r"[\s`]+", caption))
    numbers = pd.read_csv(RESULTS)
    shown = numbers[numbers["effect"].str.contains("under Dirichlet 0.5|with two labels per client")]
    assert set(shown["seeds"]) == {1}
    assert set(shown["budget"]) == {1}
    assert "one seed, the full budget" in caption
