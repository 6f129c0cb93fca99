"""Stacks the attributes of several clients, and calls hooks for all of them at once."""

import contextlib
import functools
import types
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from clients.hooks import Hooks
from clients.local.stacked.optimizer import StackedOptimizer
from clients.local.stacked.stackable import NotStackableError
from clients.local.stacked.stand_in import OF_ENGINE, OF_ONE_CLIENT, SharedWorker, stand_in_class
from clients.local.stacked.trees import (
    PLAIN,
    Slot,
    Tree,
    Withheld,
    filled,
    has_form,
    is_filled,
    mapped,
    merged,
    placed,
    signature,
)
from common.records import Tensors

Rows = slice | torch.Tensor
"""Which clients of a stack."""

_Owners = dict[str, list[tuple[dict[str, Any], str]]]
_found: weakref.WeakKeyDictionary[nn.Module, _Owners] = weakref.WeakKeyDictionary()


_NOT_STACKED = frozenset(OF_ONE_CLIENT + OF_ENGINE)


class Signatures:
    """Finds which clients' attributes can be stacked; the clients must live as long as this object.

    Most attributes are the same objects for all clients, and are examined only once.
    """

    def __init__(self) -> None:
        self._of_object: dict[int, int] = {}  # by identity
        self._numbers: dict[Any, int] = {}

    def of(self, client: Hooks) -> Any:
        """Return a value that is equal for two clients if their attributes can be stacked."""
        values, known, names = vars(client), self._of_object, attributes(client)
        numbers = [known.get(id(values[name])) or self._number(values[name]) for name in names]
        return (type(client), id(client.worker), *names, *numbers)

    def _number(self, value: Any) -> int:
        """Return a number, from 1, that is the same for values that can be stacked."""
        number = self._numbers.setdefault(signature(value), len(self._numbers) + 1)
        self._of_object[id(value)] = number
        return number


def attributes(client: Hooks) -> list[str]:
    """Return the names of the attributes that a client's hooks may read and assign."""
    return [name for name in vars(client) if name not in _NOT_STACKED]


class Attributes:
    """Calls hooks for all clients of a stack at once.

    Inside ``torch.func.vmap`` the attributes of a stand-in look like those of a single client, so a hook
    computes what it computes for one. What it assigns is kept.

    Parameters
    ----------
    clients : sequence of Hooks
        With equal signatures (`signature_of`), after ``begin_round``.

    Attributes
    ----------
    stand_in : Client
        Outside a hook, only the attributes that the engine sets are defined.
    size : int
        Number of clients that are still training.
    """

    def __init__(self, clients: Sequence[Hooks]) -> None:
        self._worker, cls = clients[0].worker, stand_in_class(type(clients[0]))  # type: ignore[arg-type]
        self.stand_in: Any = cls.__new__(cls)
        self.size = len(clients)
        self._values: list[torch.Tensor] = []
        self._optimizers: list[StackedOptimizer] = []
        self._slot_of: dict[int, int] = {}  # the first client's tensor, by its id → its slot
        self._templates: dict[str, Tree] = {}
        self._slots: dict[str, list[int]] = {}
        self._assigned: dict[str, Tree] = {}
        self._changed: set[str] = set()
        self._owners = _owners(self._worker.model)
        vars(self.stand_in).update(worker=SharedWorker(self._worker), num_steps=0)
        # Optimisers after the tensors that they step.
        for name in sorted(attributes(clients[0]), key=lambda name: "optimizer" in name):
            before = len(self._values)
            template = merged([vars(client)[name] for client in clients], self._of_leaves)
            if not isinstance(template, Withheld):
                self._templates[name] = template
                self._slots[name] = list(range(before, len(self._values)))
            elif hasattr(cls, name):  # the class's own value would be taken instead
                raise NotStackableError(f"its attribute '{name}' is a {template.kind}")

    def _of_leaves(self, leaves: Sequence[Any]) -> Tree:
        """Return the template for the leaves of several clients."""
        first = leaves[0]
        if isinstance(first, torch.optim.Optimizer) and not first.state:
            return self._of_optimizers(first)
        if not isinstance(first, torch.Tensor):
            return Withheld(type(first).__name__)
        self._slot_of[id(first)] = len(self._values)
        self._values.append(torch.stack([leaf.detach() for leaf in leaves]))
        return Slot(len(self._values) - 1)

    def _of_optimizers(self, first: torch.optim.Optimizer) -> Tree:
        """Return a new optimiser for attributes of the stack, if it is of the same kind as the worker's."""
        params = [param for group in first.param_groups for param in group["params"]]
        is_known = type(first).__mro__[1] is type(self._worker.optimizer).__mro__[1]
        if not is_known or any(id(param) not in self._slot_of for param in params):
            return Withheld(type(first).__name__)
        resident = {str(self._slot_of[id(param)]): param for param in params}
        leaves = {name: self._values[int(name)].requires_grad_() for name in resident}
        self._optimizers.append(StackedOptimizer(first, resident, leaves))
        return self._optimizers[-1].optimizer

    def call(
        self,
        hook: Callable[[Any, Tensors, Any], Any],
        params: Tensors,
        buffers: Tensors,
        arguments: Any,
        rows: Rows,
    ) -> tuple[Any, torch.Tensor | None]:
        """Return a hook's results for all clients, stacked, and the logits that it recorded.

        Parameters
        ----------
        hook : callable
            Called with the stand-in, and the parameters and arguments of one client.
        params, buffers : Tensors
            Stacked; they are the model's while the hook runs.
        arguments : tensors
            Stacked.
        rows : slice or Tensor
            The clients of the stack to which these belong.
        """
        values = [value[rows] for value in self._values]
        versions = [value._version for value in values]

        def of_one(
            values: list[torch.Tensor], params: Tensors, buffers: Tensors, arguments: Any
        ) -> tuple[Any, list[torch.Tensor], dict[str, list[torch.Tensor]]]:
            client = self.stand_in
            client.params, client.logits = params, None
            for name, template in self._templates.items():
                vars(client)[name] = filled(template, values)
            with self._in_model({**params, **buffers}):
                result = hook(client, params, arguments)
            noted = [] if client.logits is None else [client.logits]
            return result, noted, self._take_back(values)

        try:
            result, noted, assigned = torch.func.vmap(of_one)(values, params, buffers, arguments)
        finally:
            for name in (*self._templates, *self._assigned, "params", "logits"):
                vars(self.stand_in).pop(name, None)
        self._keep_written(values, versions, rows)
        self._keep(assigned, rows)
        return result, noted[0] if noted else None

    def forward(self, params: Tensors, buffers: Tensors, inputs: torch.Tensor) -> torch.Tensor:
        """Return the model's output for each client, stacked, without calling a hook.

        Parameters
        ----------
        params, buffers : Tensors
            Stacked.
        inputs : Tensor
            Of shape (clients, samples, ...).
        """
        named = {**params, **buffers}
        model = self._worker.model

        def of_one(values: list[torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
            with self._in_model(dict(zip(named, values, strict=True))):
                output: torch.Tensor = model(inputs)
            return output

        outputs: torch.Tensor = torch.func.vmap(of_one)(list(named.values()), inputs)
        return outputs

    def plain(self, hook: Callable[[Any], Any], params: Tensors) -> Any:
        """Call a hook once, with the stacked tensors of all clients, and return its result."""
        client = self.stand_in
        client.params = params
        for name, template in self._templates.items():
            vars(client)[name] = filled(template, self._values)
        try:
            return hook(client)
        finally:
            for name in (*self._templates, "params"):
                vars(client).pop(name, None)

    def drop(self, clients: Sequence[Hooks], left: int) -> None:
        """Hand the last clients of the stack what hooks have assigned, and keep the first `left` rows."""
        stepped = {int(name) for made in self._optimizers for name in made.leaves}
        changed = self._changed | {name for name, slots in self._slots.items() if stepped & set(slots)}
        for row, client in enumerate(clients, start=left):
            rows = [value.detach()[row] for value in self._values]
            for name in changed:
                vars(client)[name] = filled(self._templates[name], rows)
        self.size = left
        self._values = [
            value.detach()[:left].requires_grad_(value.requires_grad and value.is_leaf)
            for value in self._values
        ]
        for made in self._optimizers:
            made.narrow({name: self._values[int(name)] for name in made.leaves})

    @contextlib.contextmanager
    def _in_model(self, tensors: Tensors) -> Iterator[None]:
        """Temporarily replace the resident model's parameters and buffers."""
        kept = []
        for name, value in tensors.items():
            for members, key in self._owners[name]:
                kept.append((members, key, members[key]))
                members[key] = value
        try:
            yield
        finally:
            for members, key, value in kept:
                members[key] = value

    def _take_back(self, values: list[torch.Tensor]) -> dict[str, list[torch.Tensor]]:
        """Return the tensors of the attributes that a hook has assigned, and record their form."""
        found: dict[str, list[torch.Tensor]] = {}
        self._assigned = {}
        for name, value in vars(self.stand_in).items():
            if name not in OF_ENGINE and not is_filled(self._templates.get(name, Slot), value, values):
                found[name] = []
                self._assigned[name] = mapped(value, functools.partial(_slotted, name, found[name]))
        return found

    def _keep_written(self, values: list[torch.Tensor], versions: list[int], rows: Rows) -> None:
        """Keep what hooks have written into tensors in place."""
        for name, slots in self._slots.items():
            for slot in slots:
                if values[slot]._version != versions[slot]:
                    self._changed.add(name)
                    if isinstance(rows, torch.Tensor):
                        self._values[slot][rows] = values[slot]

    def _keep(self, assigned: dict[str, list[torch.Tensor]], rows: Rows) -> None:
        """Keep what hooks have assigned."""
        for name, tensors in assigned.items():
            slots, template = self._slots.get(name, []), self._assigned[name]
            if isinstance(rows, torch.Tensor):
                if name in self._templates and not has_form(self._templates[name], template):
                    raise NotStackableError(
                        f"a hook sets '{name}', and clients have mini-batches of other sizes"
                    )
                tensors = [self._with_rows(new, slots, index, rows) for index, new in enumerate(tensors)]
            if len(slots) != len(tensors):
                slots = list(range(len(self._values), len(self._values) + len(tensors)))
                self._values += tensors
            for slot, tensor in zip(slots, tensors, strict=True):
                self._values[slot] = tensor
            self._slots[name], self._templates[name] = slots, placed(template, slots)
            self._changed.add(name)
        self._assigned = {}

    def _with_rows(
        self, new: torch.Tensor, slots: Sequence[int], index: int, rows: torch.Tensor
    ) -> torch.Tensor:
        """Return a stacked tensor with some of its rows replaced."""
        whole = self._values[slots[index]].clone() if slots else new.new_zeros(self.size, *new.shape[1:])
        whole[rows] = new.detach()
        return whole


def _slotted(name: str, tensors: list[torch.Tensor], leaf: Any) -> Tree:
    """Replace a tensor that a hook has assigned with a slot."""
    if isinstance(leaf, torch.Tensor):
        tensors.append(leaf)
        return Slot(len(tensors) - 1)
    if not isinstance(leaf, PLAIN) and not isinstance(leaf, types.FunctionType):
        raise NotStackableError(f"a hook sets '{name}' to a {type(leaf).__name__}")
    return leaf


def _owners(model: nn.Module) -> _Owners:
    """Return where the model stores each parameter and buffer: a module's dictionary, and the key in it."""
    if model not in _found:
        named = {id(value): name for name, value in (*model.named_parameters(), *model.named_buffers())}
        owners: _Owners = {}
        for module in model.modules():
            for members in (module._parameters, module._buffers):
                for key, value in members.items():
                    if value is not None:
                        owners.setdefault(named[id(value)], []).append((members, key))
        _found[model] = owners
    return _found[model]
