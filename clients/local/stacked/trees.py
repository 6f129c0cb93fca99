"""Merges the values of several clients: tensors are stacked, what is the same for all stays as it is."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

Tree = Any
"""Dictionaries, lists, tuples and partial functions, whose leaves are tensors, plain values or objects."""

PLAIN = (bool, int, float, complex, str, bytes, type(None), set, frozenset, torch.dtype, torch.device)
_HASHABLE = frozenset(PLAIN) - {set}


@dataclass(frozen=True)
class Slot:
    """A leaf that is a tensor for each client; says which of the stacked tensors it is."""

    index: int


@dataclass(frozen=True)
class Withheld:
    """A leaf without a single value for the whole stack."""

    kind: str


def signature(tree: Tree) -> Any:
    """Return a hashable value that is equal for two trees if they may be stacked."""
    if (kind := type(tree)) in _HASHABLE:
        return (kind, tree)
    if isinstance(tree, torch.Tensor):
        return (torch.Tensor, tree.shape, tree.dtype)
    if isinstance(tree, dict):
        items = ((key, signature(value)) for key, value in tree.items())
        return (dict, frozenset(items))  # a checkpoint may restore the entries in another order
    if isinstance(tree, list | tuple):
        return (type(tree), *map(signature, tree))
    if isinstance(tree, functools.partial):
        return (tree.func, signature(tree.args), signature(tree.keywords))
    if isinstance(tree, set):
        return (set, frozenset(tree))
    return (type(tree), tree) if isinstance(tree, PLAIN) else type(tree).__name__


def merged(trees: Sequence[Tree], of_leaves: Callable[[Sequence[Tree]], Tree]) -> Tree:
    """Return one tree for those of several clients with equal signatures.

    Leaves that are the same object, or equal plain values, stay. Others become what `of_leaves` returns; one
    that is `Withheld` makes the whole tree `Withheld`.
    """
    first = trees[0]
    if all(tree is first for tree in trees) or isinstance(first, PLAIN):
        return first
    if not isinstance(first, dict | list | tuple | functools.partial):
        return of_leaves(trees)
    parts = [[tree[key] for key in first] if isinstance(first, dict) else children(tree) for tree in trees]
    inner = [merged(values, of_leaves) for values in zip(*parts, strict=True)]
    withheld = next((value for value in inner if isinstance(value, Withheld)), None)
    return withheld or rebuilt(first, inner)


def children(tree: Tree) -> list[Tree]:
    """Return the elements of a container; a leaf has none."""
    if isinstance(tree, functools.partial):
        return [*tree.args, *tree.keywords.values()]
    if isinstance(tree, dict):
        return list(tree.values())
    return list(tree) if isinstance(tree, list | tuple) else []


def rebuilt(tree: Tree, values: Sequence[Tree]) -> Tree:
    """Return a container like `tree` with other values."""
    if isinstance(tree, dict):
        return dict(zip(tree, values, strict=True))
    if isinstance(tree, functools.partial):
        cut = len(tree.args)
        return functools.partial(
            tree.func, *values[:cut], **dict(zip(tree.keywords, values[cut:], strict=True))
        )
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*values)
    return tuple(values) if isinstance(tree, tuple) else list(values)


def mapped(tree: Tree, function: Callable[[Tree], Tree]) -> Tree:
    """Apply a function to every leaf."""
    if isinstance(tree, dict | list | tuple | functools.partial):
        return rebuilt(tree, [mapped(value, function) for value in children(tree)])
    return function(tree)


def is_filled(template: Tree, tree: Tree, values: Sequence[torch.Tensor]) -> bool:
    """Return whether a tree is still its template with these values in the slots."""
    if isinstance(template, Slot):
        return tree is values[template.index]
    if isinstance(template, dict | list | tuple | functools.partial):
        if not _is_alike(template, tree):
            return False
        inner, others = children(template), children(tree)
        return len(inner) == len(others) and all(
            is_filled(one, other, values) for one, other in zip(inner, others, strict=True)
        )
    return tree is template or (
        isinstance(template, PLAIN) and type(tree) is type(template) and tree == template
    )


def filled(template: Tree, values: Sequence[torch.Tensor]) -> Tree:
    """Return a tree with these values in its template's slots."""
    return mapped(template, lambda leaf: values[leaf.index] if isinstance(leaf, Slot) else leaf)


def has_form(template: Tree, other: Tree) -> bool:
    """Return whether two templates have slots and plain values in the same places."""
    if isinstance(template, Slot):
        return isinstance(other, Slot)
    if isinstance(template, dict | list | tuple | functools.partial):
        inner, others = children(template), children(other)
        keys = not isinstance(template, dict) or (isinstance(other, dict) and list(template) == list(other))
        return (
            keys
            and type(template) is type(other)
            and len(inner) == len(others)
            and all(map(has_form, inner, others))
        )
    return template is other or (
        isinstance(template, PLAIN) and type(template) is type(other) and template == other
    )


def placed(template: Tree, slots: Sequence[int]) -> Tree:
    """Return a template with renumbered slots: i becomes slots[i]."""
    return mapped(template, lambda leaf: Slot(slots[leaf.index]) if isinstance(leaf, Slot) else leaf)


def _is_alike(one: Tree, other: Tree) -> bool:
    """Return whether two containers have the same type and keys."""
    return type(one) is type(other) and (not isinstance(one, dict) or list[Any](one) == list[Any](other))
