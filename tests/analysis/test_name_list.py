from analysis.name_list import named


def test_long_lists_say_how_many_names_they_leave_out() -> None:
    assert named(["a", "b"]) == "a, b"
    assert named(["a", "b", "c"], "; ", most=3) == "a; b; c"
    assert named(range(5), " ", most=2) == "0 1 and 3 more"
