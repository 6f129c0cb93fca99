"""A GPU that is none: what is on ``cuda`` has the values that it would have on the CPU.

A call fails here that would fail on a GPU because its tensors are in different places: so a machine without
one shows whether code moves what it has to. Only what Python calls is looked at, not what C++ calls inside.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest import mock

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode, resolve_name

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")
_CONTAINERS = (dict, list, tuple)

# Calls that take tensors from anywhere.
_ANYWHERE = {"_has_compatible_shallow_copy_type", "_parse_to", "copy_", "__set__", "__repr__"}
# Calls that wait for what the GPU was given to do.
_WAITING = {
    "item", "tolist", "cpu", "numpy", "nonzero", "masked_select", "equal", "allclose",
    "__bool__", "__int__", "__float__", "__index__", "is_nonzero",
}  # fmt: skip
_INDEXING = {"__getitem__", "__setitem__"}
# Their second tensor, lengths or batch sizes of sequences, is the CPU's.
_PACKING = {"_pack_padded_sequence", "_pad_packed_sequence"}
_OF_PACKED = {"rnn_tanh", "rnn_relu", "lstm", "gru"}


class Generator(torch.Generator):
    """A generator of the CPU that says it is the GPU's if it is asked to be."""

    _is_on_gpu: bool

    def __new__(cls, device: torch.device | str = CPU) -> "Generator":
        made: Generator = super().__new__(cls)
        made._is_on_gpu = torch.device(device).type == "cuda"
        return made

    def __init__(self, device: torch.device | str = CPU) -> None:
        super().__init__()

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """Where it draws."""
        return GPU if self._is_on_gpu else CPU


class FakeGpu(TorchFunctionMode):
    """Knows which memory is the GPU's, and checks every call of torch in this thread.

    Attributes
    ----------
    transfers : list of str
        The calls so far that moved values to the GPU, or waited for some from there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.transfers: list[str] = []
        self._memory: dict[int, StorageWeakRef] = {}  # a reference keeps an address from being used again

    def has(self, tensor: torch.Tensor) -> bool:
        """Say whether a tensor is on the GPU."""
        storage = _storage(tensor)
        return storage is not None and storage._cdata in self._memory

    def place(self, value: Any) -> Any:
        """Let the tensors of a result be on the GPU."""
        for storage in filter(None, map(_storage, _tensors(value, []))):
            if storage._cdata not in self._memory:
                self._memory[storage._cdata] = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
        return value

    def __torch_function__(
        self, call: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Make a call, if its tensors are where they have to be."""
        options = dict(kwargs or {})
        name = getattr(call, "__name__", "")
        if name == "__get__":
            return self._attribute(call, *args)
        if name in _WAITING and self.has(args[0]):
            self.transfers.append(name)
        if name in _ANYWHERE:
            return call(*args, **options)
        if name in ("to", "cpu", "cuda"):
            return self._moved(name, *args, **options)
        if name in ("numpy", "__array__") and self.has(args[0]) and not options.get("force"):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        device = options.get("device")
        if device is not None:
            options["device"] = CPU
            if name in ("tensor", "as_tensor") and torch.device(device).type == "cuda":
                self.transfers.append(name)
        places = self._check(call, name, args, options)
        is_on_gpu = any(places) if device is None else torch.device(device).type == "cuda"
        generator = options.get("generator")
        if generator is not None and (generator.device.type == "cuda") != is_on_gpu:
            raise RuntimeError(f"{resolve_name(call)}: a generator of {generator.device}")
        result = call(*args, **options)
        if name == "_pack_padded_sequence":  # its second result is the CPU's
            return self.place(result[0]), result[1]
        return self.place(result) if is_on_gpu else result

    def _check(self, call: Any, name: str, args: Any, options: Any) -> list[bool]:
        """Refuse tensors of different places; those without a dimension count as numbers."""
        given = _tensors(args, [])
        if options:
            _tensors(options, given)
        places = [self.has(tensor) for tensor in given]
        if True not in places:
            return places
        if name in _PACKING or (name in _OF_PACKED and given[1].dim() == 1):
            if places[1]:
                raise RuntimeError(f"{name}: lengths on the GPU")
            del given[1], places[1]
        found = {place for tensor, place in zip(given, places, strict=True) if tensor.dim()}
        if name in _INDEXING:  # indices may be on the CPU
            is_wrong = not places[0] and True in found
        else:
            is_wrong = any(places) and False in found
        if is_wrong:
            shapes = [(tuple(tensor.shape), place) for tensor, place in zip(given, places, strict=True)]
            raise RuntimeError(f"{resolve_name(call) or name}: tensors of CPU and GPU: {shapes}")
        return places

    def _attribute(self, call: Any, tensor: torch.Tensor, *further: Any) -> Any:
        attribute = getattr(call.__self__, "__name__", "")
        is_on_gpu = self.has(tensor)
        if attribute in ("is_cuda", "is_cpu"):
            return is_on_gpu == (attribute == "is_cuda")
        if attribute == "device" and is_on_gpu:
            return GPU
        result = call(tensor, *further)
        return self.place(result) if is_on_gpu else result

    def _moved(self, name: str, tensor: torch.Tensor, *args: Any, copy: bool = False, **options: Any) -> Any:
        if name != "to":
            args = (name, *args)
        elif args and isinstance(args[0], torch.Tensor):
            args = (GPU if self.has(args[0]) else CPU, args[0].dtype)
        device, dtype, _, memory_format = torch._C._nn._parse_to(*args, **options)
        is_on_gpu = self.has(tensor)
        goal = is_on_gpu if device is None else device.type == "cuda"
        if goal and not is_on_gpu:
            self.transfers.append(name)
        formats = {"memory_format": memory_format} if memory_format else {}
        result = tensor.to(dtype or tensor.dtype, copy=copy or goal != is_on_gpu, **formats)
        return self.place(result) if goal else result


def _storage(tensor: torch.Tensor) -> torch.UntypedStorage | None:
    with torch._C.DisableTorchFunction():
        while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
            tensor = torch._C._functorch.get_unwrapped(tensor)
        try:
            return tensor.untyped_storage()
        except (RuntimeError, NotImplementedError):  # it has no memory of its own
            return None


def _tensors(value: Any, found: list[torch.Tensor]) -> list[torch.Tensor]:
    """Append the tensors of a value to a list, and return it."""
    if isinstance(value, torch.Tensor):
        found.append(value)
    elif isinstance(value, _CONTAINERS):
        for inner in value.values() if isinstance(value, dict) else value:
            _tensors(inner, found)
    return found


@contextlib.contextmanager
def fake_gpu() -> Iterator[FakeGpu]:
    """Let this process have a GPU, of 16 GB."""
    instead: dict[str, Callable[..., Any]] = {
        "torch.Generator": Generator,
        "torch.autocast": lambda *_: contextlib.nullcontext(),  # another precision has no other place
        "torch.optim.Optimizer._accelerator_graph_capture_health_check": lambda optimizer: None,
        "torch.backends.cudnn.is_acceptable": lambda tensor: False,
        "torch.cuda.is_available": lambda: True,
        "torch.cuda.current_device": lambda: 0,
        "torch.cuda.synchronize": lambda: None,
        "torch.cuda.empty_cache": lambda: None,
        "torch.cuda.get_device_name": lambda *_: "fake",
        "torch.cuda.reset_peak_memory_stats": lambda: None,
        "torch.cuda.max_memory_allocated": lambda: 0,
        "torch.cuda.utilization": lambda: 0,
    }
    with contextlib.ExitStack() as stack:
        for name, value in instead.items():
            stack.enter_context(mock.patch(name, value))
        stack.enter_context(mock.patch("torch.cuda.default_generators", (Generator(GPU),)))
        yield stack.enter_context(FakeGpu())
