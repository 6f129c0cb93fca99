import os
import warnings

import pytest
import torch

from common.device import hardware, resolve_device
from common.errors import UserError


def test_devices_that_are_there() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type in ("cpu", "cuda")


@pytest.mark.parametrize(
    "name",
    ["", "CPU", "gpu", "cpu:1", "cpu:99", "meta", "mps:3", "xla", "mkldnn", "cuda:999", "cuda:-1"],
)
def test_others_are_one_short_line(name: str) -> None:
    with warnings.catch_warnings(action="error"), pytest.raises(UserError) as caught:
        resolve_device(name)
    text = str(caught.value)
    assert text.startswith(f"device '{name}' cannot be used here (")
    assert text.endswith(
        "; use 'auto', 'cpu' or 'cuda'" if torch.cuda.is_available() else "; use 'auto' or 'cpu'"
    )
    assert "\n" not in text
    assert len(text) < 200


def test_a_device_without_float64_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    made = torch.ones

    def ones(*size: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        if dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype. Please use float32 instead.")
        return made(*size, dtype=dtype, device=device)

    monkeypatch.setattr(torch, "ones", ones)
    with pytest.raises(UserError, match=r"^device 'cpu' cannot be used here \(Cannot convert a MPS Tensor"):
        resolve_device("cpu")


def test_the_hardware_of_a_run_on_the_cpu() -> None:
    found = hardware("cpu")
    assert found["device"] == "cpu"
    assert found["processor"]
    assert found["threads"] == torch.get_num_threads()
    assert found["cores"] == os.cpu_count()
