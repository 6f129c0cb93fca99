"""The remarks at the end of a run; those on divergence are tested in ``messages/test_divergence.py``."""

import pytest

from server import end_remarks
from tests.conftest import Runner


@pytest.mark.parametrize(
    ("fast", "overrides", "said"),
    [
        (True, {"model__name": "small-cnn"}, True),
        (False, {"model__name": "small-cnn"}, False),
        (True, {"model__name": "small-cnn", "local__precision": "bfloat16"}, False),
        (True, {"model__name": "mlp"}, False),
    ],
)
def test_bfloat16_is_named_once_where_it_pays(
    fast: bool,
    overrides: dict[str, str],
    said: bool,
    run_small: Runner,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(end_remarks, "has_fast_bfloat16", lambda: fast)
    run_small("short", rounds=1, device="cpu", **overrides)
    assert "a faster way on this CPU" not in capsys.readouterr().out
    monkeypatch.setattr(end_remarks, "_WORTH_A_HINT", 0.0)
    run_small("long", rounds=1, device="cpu", **overrides)
    assert capsys.readouterr().out.count("a faster way on this CPU: local.precision = 'bfloat16'") == said
