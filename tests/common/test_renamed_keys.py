import pytest

from common.config import Config
from common.config_values import merge
from common.errors import UserError
from common.renamed_keys import RENAMED
from run_simulation import main
from runtimes.describe import describe
from server.checkpoints.stored_config import stored_config


@pytest.mark.parametrize("old", RENAMED)
def test_an_old_key_is_answered_with_the_new_one(old: str) -> None:
    expected = f"{old} is now {RENAMED[old]}"
    for layer in ({old: 1}, {"overrides": f"{old} = 1"}):
        with pytest.raises(UserError) as raised:
            Config.from_flat(merge(layer))
        assert str(raised.value) == expected
    with pytest.raises(UserError) as raised:
        stored_config({old: 1})
    assert str(raised.value) == expected


@pytest.mark.parametrize("new", sorted(set(RENAMED.values())))
def test_the_new_one_exists(new: str) -> None:
    assert describe([new]).startswith(f"{new}: ")


def test_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--set", "local.lr=0.1"]) == 2
    assert capsys.readouterr().err == "error: local.lr is now optimizer.learning-rate\n"
