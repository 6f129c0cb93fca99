"""Trees of several clients as one."""

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.local.stacked.trees import Slot, Withheld, filled, has_form, is_filled, merged, signature

leaves = st.one_of(
    st.integers(-3, 3),
    st.booleans(),
    st.text(max_size=2),
    st.none(),
    st.integers(1, 3).map(lambda size: torch.arange(float(size))),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    ),
    max_leaves=8,
)


def of_client(tree: Any, number: int) -> Any:
    """Return the tree that a client has: other values of the same form, entries in another order."""
    if isinstance(tree, torch.Tensor):
        return tree + number
    if isinstance(tree, dict):
        keys = list(tree)[::-1] if number % 2 else list(tree)
        return {key: of_client(tree[key], number) for key in keys}
    if isinstance(tree, list | tuple):
        return type(tree)(of_client(value, number) for value in tree)
    return tree


def is_same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(is_same, one, other))
    return bool(one == other)


@settings(max_examples=60)
@given(trees)
def test_every_row_of_a_merged_tree_is_its_clients(tree: Any) -> None:
    stacked: list[torch.Tensor] = []

    def of_leaves(values: Any) -> Slot:
        stacked.append(torch.stack(list(values)))
        return Slot(len(stacked) - 1)

    given_trees = [of_client(tree, number) for number in range(3)]
    assert len({signature(value) for value in given_trees}) == 1
    template = merged(given_trees, of_leaves)
    for row, expected in enumerate(given_trees):
        values = [value[row] for value in stacked]
        made = filled(template, values)
        assert is_same(made, expected)
        assert is_filled(template, made, values)
    assert has_form(template, template)


def test_other_forms_have_other_signatures() -> None:
    forms = [{"a": 1}, {"a": True}, {"a": 2}, {"b": 1}, [1], (1,), torch.zeros(2), torch.zeros(3), None]
    forms.append(torch.zeros(2, dtype=torch.float64))
    assert len({signature(form) for form in forms}) == len(forms)


def test_what_is_no_value_withholds_the_whole_tree() -> None:
    template = merged([{"a": 1, "b": object()} for _ in range(2)], lambda values: Withheld("object"))
    assert template == Withheld("object")


def test_what_a_hook_assigns_is_noticed() -> None:
    value = torch.zeros(2)
    template = {"a": Slot(0), "b": 1}
    assert is_filled(template, {"a": value, "b": 1}, [value])
    for other in ({"a": value.clone(), "b": 1}, {"a": value, "b": 2}, {"a": value}, {"a": value, "b": True}):
        assert not is_filled(template, other, [value])
