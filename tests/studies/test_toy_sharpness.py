"""O-23, the table of 2.13 and metamorphic property 23 of the Local SGD specification."""

from pathlib import Path

import numpy as np
import pytest

from studies.label_noise_toy import ToySetting, psi_of_rounds, simulate, theory
from studies.toy_sharpness import main

TABLE = {
    (8, 1): (8.64, 8.66),
    (8, 5): (7.80, 7.85),
    (8, 20): (6.74, 6.81),
    (8, 100): (6.17, 6.25),
    (1, 1): (6.03, 6.11),
}


def test_psi() -> None:
    assert psi_of_rounds(5.0, 0.01, 1) == pytest.approx(0, abs=1e-12)
    # For small steps it is (exp(-x) - 1 + x) / x with x = 2 eta H lambda.
    found = [psi_of_rounds(5.0, x / 10 / 10_000, 10_000) for x in (0.1, 0.5, 1, 2, 10)]
    assert found == pytest.approx([0.048374, 0.213061, 0.367879, 0.567668, 0.900005], rel=1e-3)


@pytest.mark.parametrize(("cell", "expected"), TABLE.items(), ids=str)
def test_theory(cell: tuple[int, int], expected: tuple[float, float]) -> None:
    trajectory = theory(*cell)
    assert trajectory.sharpness[0] == pytest.approx(9 + 1 / 9)
    assert trajectory.final == pytest.approx(expected[1], abs=0.006)


def test_more_local_steps_are_flatter_as_in_theory() -> None:
    final = {cell: simulate(*cell).final for cell in TABLE}
    assert [final[8, h] for h in (1, 5, 20, 100)] == sorted(
        (final[8, h] for h in (1, 5, 20, 100)), reverse=True
    )
    # Many local steps of many workers are like one worker with the local batch.
    assert abs(final[8, 100] - final[1, 1]) < 0.25
    for cell, (simulated, predicted) in TABLE.items():
        assert abs(final[cell] - theory(*cell).final) < 0.15
        assert abs(final[cell] - predicted) < 0.15
        assert final[cell] == pytest.approx(simulated, abs=0.1)


def test_rounds_of_one_worker_do_not_matter() -> None:
    setting = ToySetting(steps=300, repetitions=3)
    first, second = (simulate(1, h, setting).final for h in (1, 10))
    assert first == pytest.approx(second, rel=1e-12)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path), "--steps", "200", "--repetitions", "2"]) == 0
    table = np.genfromtxt(tmp_path / "toy-sharpness.csv", delimiter=",", names=True)
    assert table["workers"].tolist() == [8, 8, 8, 8, 1]
    assert (tmp_path / "toy-sharpness.png").stat().st_size > 10_000
    assert main(["--out", str(tmp_path), "--steps", "250"]) == 2
    assert "must be a positive multiple of 100" in capsys.readouterr().err
