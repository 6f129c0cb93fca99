"""The device of a run, and settings that a process makes once before it computes."""

import contextlib
import ctypes
import os
import platform
import re
import warnings
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import nn

from common.errors import UserError

# glibc's parameters of mallopt(3).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def prepare_process(threads: int) -> None:
    """Set the number of intra-op threads, and make the C library keep freed memory for reuse.

    By default glibc returns the activations of every step to the system and requests them again: for a small
    CNN, these page faults took a quarter of the time of a step.
    """
    torch.set_num_threads(threads)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # only glibc has it
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the largest that is accepted
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_TOP_PAD, 64 << 20)


def resolve_device(name: str) -> torch.device:
    """Turn the key ``device`` into a torch device; ``auto`` takes a GPU if there is one.

    Raises
    ------
    UserError
        If the device does not exist on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        with warnings.catch_warnings(action="ignore"):  # about outdated device names
            device = torch.device(name)
            torch.ones(1, dtype=torch.float64, device=device).item()  # sums need it; 'meta' has no values
        if device.type == "cpu" and device.index:
            raise ValueError("a machine has one device 'cpu'")
    except Exception as error:  # backends raise different errors on machines without such a device
        reason = next(iter(str(error).splitlines()), type(error).__name__).partition(". ")[0]
        reason = "torch knows no such device" if reason.startswith("Expected one of") else reason
        choices = "'auto', 'cpu' or 'cuda'" if torch.cuda.is_available() else "'auto' or 'cpu'"
        raise UserError(f"device '{name}' cannot be used here ({reason}); use {choices}") from None
    return device


def hardware(name: str) -> dict[str, str | int]:
    """Return what a process computes on: the device of the key ``device``, its model, and threads."""
    device = resolve_device(name)
    found: dict[str, str | int] = {"device": str(device), "processor": _processor()}
    if device.type == "cuda":
        found["GPU"] = torch.cuda.get_device_name(device)
    return found | {"cores": os.cpu_count() or 1, "threads": torch.get_num_threads()}


def _processor() -> str:
    """Return the model of the CPU."""
    with contextlib.suppress(OSError):
        if match := re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text("utf-8"), re.M):
            return match[1].strip()
    return platform.processor() or platform.machine()


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Return a context in which models compute in a precision, ``float32`` or ``bfloat16``."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()


def has_fast_bfloat16() -> bool | None:
    """Return whether the CPU multiplies in bfloat16 (AVX-512 BF16 or AMX); None if unknown."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return None
    if "sse2" not in flags:  # not an x86 CPU
        return None
    return bool(flags & {"avx512_bf16", "amx_bf16"})


def to_device(model: nn.Module, device: torch.device, channels_last: bool) -> None:
    """Move a model to a device, with channels-last convolution weights if `channels_last`."""
    memory_format = torch.channels_last if channels_last else torch.preserve_format
    model.to(device=device, memory_format=memory_format)  # type: ignore[call-overload]
