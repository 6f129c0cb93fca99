"""Where one run takes place, and what it says of settings for other places."""

import warnings
from pathlib import Path

import pytest

from runtimes.run import make_grid, run
from tests.conftest import small_config


@pytest.mark.parametrize("runtime", ["sequential", "threads"])
def test_settings_for_flowers_own_runtimes_are_named(runtime: str) -> None:
    config = small_config(
        runtime__name=runtime,
        failures__policy="drop",
        failures__deadline=5.0,
        resources__clients_per_node=2,
    )
    with pytest.warns(UserWarning, match="it is for Flower's own runtimes") as caught:
        make_grid(config).close()
    assert [str(warning.message).partition(" ")[0] for warning in caught] == [
        "failures.deadline",
        "resources.clients-per-node",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_grid(small_config(runtime__name=runtime, failures__policy="drop")).close()


def test_flowers_strategies_do_not_write_between_the_rounds(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(small_config(method__name="flwr:FedMedian", rounds=1), str(tmp_path / "run"))
    output = capfd.readouterr()
    assert "round 1/1" in output.out
    assert "configure_train" not in output.out + output.err
