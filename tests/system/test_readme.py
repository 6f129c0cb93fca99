"""The README's example of a method is the method's own file."""

import inspect
import re

from clients.fedprox import FedProx
from common.defaults import PROJECT_ROOT


def test_the_example_is_the_real_fedprox() -> None:
    text = (PROJECT_ROOT / "README.md").read_text()
    example = next(
        block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "FedProx" in block
    )
    source = re.sub(r'\n        """[^"]*"""', "", inspect.getsource(FedProx))
    assert source.strip() == example.strip()
