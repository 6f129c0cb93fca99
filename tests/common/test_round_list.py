import pytest

from common.config import Config
from common.config_values import merge
from common.errors import UserError
from common.round_list import RoundList


def test_rounds_and_ranges():
    rounds = RoundList("10, 40-42,100-500:100,7", "key")
    assert [number for number in range(1000) if number in rounds] == [
        7,
        10,
        40,
        41,
        42,
        100,
        200,
        300,
        400,
        500,
    ]
    assert rounds
    assert rounds.first() == 7


@pytest.mark.parametrize("text", ["", " "])
def test_none(text):
    rounds = RoundList(text, "key")
    assert not rounds
    assert 1 not in rounds


@pytest.mark.parametrize("text", ["x", ",", "1,,2", "0", "5-3", "1-9:0", "1:2", "-3", "1--2", "1.5"])
def test_anything_else_is_refused_by_the_configuration(text):
    for key in ("analysis.similarity-rounds", "analysis.update-rounds"):
        with pytest.raises(UserError, match=f"{key} must list rounds such as"):
            Config.from_flat(merge({key: text}))


def test_one_round_may_be_a_number():
    assert Config.from_flat(merge({"analysis.update-rounds": 3})).analysis.update_rounds == "3"
    with pytest.raises(UserError, match=r"analysis.update-rounds must be"):
        Config.from_flat(merge({"analysis.update-rounds": True}))
