from common.defaults import default_values, drop_inherited_defaults, flatten


def test_inherited_defaults_are_dropped_and_set_values_kept() -> None:
    default = default_values()["partition.alpha"]
    assert drop_inherited_defaults("partition", {"alpha": default}, []) == {}
    assert drop_inherited_defaults("partition", {"alpha": 0.123}, []) == {"alpha": 0.123}
    assert drop_inherited_defaults("partition", {"alpha": default}, ["alpha"]) == {"alpha": default}
    both = {"classes-per-client": default_values()["partition.classes-per-client"], "beta": 1}
    assert drop_inherited_defaults("partition", both, ["classes_per_client"]) == both
    assert drop_inherited_defaults("partition", both, []) == {"beta": 1}


def test_flatten_joins_with_dots() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": 2}, "e": 3}) == {"a.b.c": 1, "a.d": 2, "e": 3}
