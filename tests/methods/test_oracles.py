"""Closed-form numbers of the methods, in float64."""

import pytest
import torch

from clients.local.step_weights import step_weight_norm
from tests.methods.quadratics import Federation

LR = {"optimizer.learning-rate": 0.1}


def close(*values: float) -> object:
    return pytest.approx(list(values), abs=1e-9)


def test_fedprox_pulls_towards_the_global_model() -> None:
    for steps, expected in ((1, 2.3), (2, 2.555), (3, 2.77175)):
        federation = Federation("fedprox", [(1, 5)], [steps], start=[2.0], local=LR, mu=0.5)
        assert federation.round() == close(expected)


@pytest.mark.parametrize(("mu", "expected"), [(0.0, (-0.16, -0.264)), (1.0, (-0.15, -0.2505))])
def test_fedprox_on_two_quadratics(mu: float, expected: tuple[float, float]) -> None:
    federation = Federation("fedprox", [(1.0, 1.0), (3.0, -1.0)], [2, 2], local=LR, mu=mu)
    assert [federation.round()[0] for _ in range(2)] == close(*expected)


@pytest.mark.parametrize("form", ["squared", "norm"])
@pytest.mark.parametrize("mu", [0.01, 1.0, 50.0])
def test_the_first_step_of_fedprox_has_no_distance_yet(mu: float, form: str) -> None:
    quadratics = [(1.0, 1.0), (3.0, -1.0)]
    plain = Federation("fedavg", quadratics, [1, 1], local=LR)
    proximal = Federation("fedprox", quadratics, [1, 1], local=LR, mu=mu, form=form)
    for _ in range(4):
        assert proximal.round() == plain.round()


def test_fedprox_gradient_is_mu_times_the_distance() -> None:
    federation = Federation("fedprox", [(0, 0)], [1], start=[0.0, 0.0], mu=0.3)
    client = federation.clients[0]
    client.received = {"arrays": {"w": torch.tensor([1.0, 1.0], dtype=torch.float64)}}
    params = {"w": torch.tensor([4.0, -3.0], dtype=torch.float64)}
    grads = client.correct_gradients(params, {"w": torch.zeros(2, dtype=torch.float64)})
    assert grads["w"].tolist() == pytest.approx([0.9, -1.2])


@pytest.mark.parametrize("method", ["fedprox", "fednova"])
def test_mu_zero_is_fedavg_bit_for_bit(method: str) -> None:
    quadratics = [(1.0, 1.0), (2.0, -1.0)]
    plain = Federation("fedavg", quadratics, [3, 3], local=LR)
    other = Federation(method, quadratics, [3, 3], local=LR, mu=0.0)
    for _ in range(4):
        assert other.round() == pytest.approx(plain.round(), abs=0 if method == "fedprox" else 1e-12)


@pytest.mark.parametrize(
    ("counts", "local", "parameters", "expected"),
    [
        ([1, 1], {}, {}, -0.115425),
        ([100, 300], {}, {}, -0.36824375),
        ([100, 300], {"optimizer.momentum": 0.9}, {}, -0.7814543189),
        (
            [100, 300],
            {"optimizer.momentum": 0.9},
            {"effective_steps": "steps"},
            -0.7814543189 / 7.51175 * 3.5,
        ),
    ],
)
def test_fednova(
    counts: list[int], local: dict[str, float], parameters: dict[str, str], expected: float
) -> None:
    quadratics = [(1.0, 1.0), (1.0, -2.0)]
    federation = Federation("fednova", quadratics, [2, 4], counts=counts, local={**LR, **local}, **parameters)
    assert federation.round() == close(expected)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_fednova_with_equal_work_is_fedavg(momentum: float) -> None:
    local = {**LR, "optimizer.momentum": momentum}
    quadratics, counts = [(1.0, 1.0), (2.0, -3.0)], [1, 4]
    nova = Federation("fednova", quadratics, [3, 3], counts=counts, local=local)
    average = Federation("fedavg", quadratics, [3, 3], counts=counts, local=local)
    for _ in range(3):
        assert nova.round() == pytest.approx(average.round(), abs=1e-12)


def test_step_weight_norms() -> None:
    momentum = [step_weight_norm(tau, momentum=0.9) for tau in (1, 2, 3, 4)]
    assert momentum == pytest.approx([1, 2.9, 5.61, 9.049], abs=1e-12)
    # The recursion against the closed form (tau - rho (1 - rho^tau) / (1 - rho)) / (1 - rho).
    nesterov = [step_weight_norm(tau, momentum=0.9, nesterov=True) for tau in (1, 2, 3)]
    assert nesterov == pytest.approx([1.9, 1.9 + 2.71, 1.9 + 2.71 + 3.439], abs=1e-12)
    ten = step_weight_norm(10, momentum=0.9)
    assert ten == pytest.approx((10 - 0.9 * (1 - 0.9**10) / 0.1) / 0.1, abs=1e-12)
    assert step_weight_norm(3, damping=0.05) == pytest.approx(2.8525, abs=1e-12)
    assert step_weight_norm(4, damping=0.05) == pytest.approx(3.709875, abs=1e-12)


THREE = [(1.0, 1.0), (2.0, -1.0), (1.0, 3.0)]


def test_scaffold_option_2() -> None:
    federation = Federation("scaffold", THREE, [2, 2, 2], local=LR)
    rounds = [
        ({0: (0.19, -0.95), 1: (-0.36, 1.8)}, -0.085, 0.2833333333),
        ({1: (-0.1414, 1.7986666667), 2: (0.4473166667, -2.9449166667)}, 0.1529583333, -0.69875),
        ({0: (0.26615875, -0.8172520833), 2: (0.2671245833, -2.8169979167)}, 0.2666416667, -0.6118611111),
    ]
    for replies, x, c in rounds:
        assert federation.round(list(replies)) == close(x)
        for client_id, (y, control) in replies.items():
            assert federation.replies[client_id]["w"].tolist() == close(y)
            assert federation.clients[client_id].state["control"]["w"].tolist() == close(control)
        assert federation.strategy.control["w"].tolist() == close(c)  # type: ignore[attr-defined]
        own = [
            client.state["control"]["w"] if client.state else torch.zeros(1) for client in federation.clients
        ]
        assert torch.stack([value.double() for value in own]).mean().item() == pytest.approx(c, abs=1e-9)


def test_scaffold_option_1() -> None:
    federation = Federation("scaffold", THREE, [2, 2, 2], local=LR, option=1)
    for cohort, x, c in (
        ([0, 1], -0.085, 0.3333333333),
        ([1, 2], 0.1617083333, -0.7516666667),
        ([0, 2], 0.2657254167, -0.6155277778),
    ):
        assert federation.round(cohort) == close(x)
        assert federation.strategy.control["w"].tolist() == close(c)  # type: ignore[attr-defined]


def test_scaffold_server_learning_rate_does_not_touch_the_control() -> None:
    federation = Federation("scaffold", THREE, [2, 2, 2], local=LR, server_learning_rate=0.5)
    assert federation.round([0, 1]) == close(-0.0425)
    assert federation.strategy.control["w"].tolist() == close(0.2833333333)  # type: ignore[attr-defined]


def test_scaffold_with_momentum_divides_by_the_step_weights() -> None:
    federation = Federation(
        "scaffold", [(1.0, 2.0)], [3], start=[0.5], local={**LR, "optimizer.momentum": 0.9}
    )
    federation.clients[0].state = {"control": {"w": torch.tensor([-0.2], dtype=torch.float64)}}
    federation.strategy.control = {"w": torch.tensor([0.3], dtype=torch.float64)}  # type: ignore[attr-defined]
    federation.round()
    assert federation.replies[0]["w"].tolist() == close(1.014)
    assert federation.clients[0].state["control"]["w"].tolist() == close(-1.4162210339)


def test_scaffold_reaches_the_optimum_that_fedavg_misses() -> None:
    quadratics = [(1.0, 1.0), (10.0, -1.0)]
    local = {"optimizer.learning-rate": 0.05}
    scaffold, average = (
        Federation(name, quadratics, [10, 10], local=local) for name in ("scaffold", "fedavg")
    )
    for _ in range(400):
        corrected, plain = scaffold.round(), average.round()
    assert corrected == pytest.approx([-9 / 11], abs=1e-5)
    assert plain == pytest.approx([-0.42688], abs=1e-5)


def test_scaffold_with_one_client_is_fedavg() -> None:
    local = {"optimizer.learning-rate": 0.05}
    scaffold, average = (
        Federation(n, [(2.0, 0.5)], [3], start=[1.0], local=local) for n in ("scaffold", "fedavg")
    )
    for _ in range(3):
        assert scaffold.round() == pytest.approx(average.round(), abs=1e-12)


# Two rounds in which the mean change is (0.1, -0.2) and then (0.05, 0.1): with lr = 1 and one step on Q(1, b)
# the change is b - x.
@pytest.mark.parametrize(
    ("method", "parameters", "first", "second"),
    [
        ("fedadagrad", {}, (1.0904987562, 0.9048750780), (1.1313986449, 0.9476411366)),
        ("fedadam", {}, (1.0414821816, 0.9381538451), (1.0977070812, 0.9148793035)),
        ("fedyogi", {}, (1.0414213562, 0.9381966011), (1.0974213562, 0.9150047652)),
        ("fedadam", {"v0_zero": True}, (1.05, 0.9333333333), (1.1162391757, 0.9085433183)),
        (
            "fedadam",
            {"v0_zero": True, "flower_bias_correction": True},
            (1.0371229894, 0.9505026808),
            (1.0792471407, 0.9347377149),
        ),
        ("fedyogi", {"v0_zero": True}, (1.05, 0.9333333333), (1.1160990337, 0.9086119738)),
        ("fedavgm", {}, (1.1, 0.8), (1.24, 0.72)),
        ("fedavgm", {"nesterov": True}, (1.19, 0.62), (1.366, 0.648)),
    ],
)
def test_server_optimisers(
    method: str, parameters: dict[str, bool], first: tuple[float, float], second: tuple[float, float]
) -> None:
    adaptive = {} if method == "fedavgm" else {"server_learning_rate": 0.1, "tau": 0.01}
    x = torch.tensor([1.0, 1.0], dtype=torch.float64)
    federation = Federation(
        method,
        [(1.0, (1.1, 0.8))],
        [1],
        start=[1.0, 1.0],
        local={"optimizer.learning-rate": 1.0},
        **adaptive,
        **parameters,
    )
    assert federation.round() == close(*first)
    target = federation.w + torch.tensor([0.05, 0.1], dtype=torch.float64)
    federation.clients[0].loss = lambda params, batch: ((params["w"] - target) ** 2).sum() / 2  # type: ignore[method-assign]
    assert federation.round() == close(*second)
    assert x.tolist() == [1.0, 1.0]


def test_fedadam_second_moment() -> None:
    federation = Federation(
        "fedadam",
        [(1.0, (1.1, 0.8))],
        [1],
        start=[1.0, 1.0],
        local={"optimizer.learning-rate": 1.0},
        tau=0.01,
    )
    federation.round()
    assert federation.strategy.second_moment["w"].tolist() == close(0.000199, 0.000499)  # type: ignore[attr-defined]


def test_fedavgm_without_momentum_is_fedavg() -> None:
    quadratics = [(1.0, 1.0), (2.0, -1.0)]
    average = Federation("fedavg", quadratics, [2, 2], local=LR)
    momentum = Federation("fedavgm", quadratics, [2, 2], local=LR, beta=0.0)
    for _ in range(3):
        assert momentum.round() == pytest.approx(average.round(), abs=1e-12)


def test_feddyn_reaches_the_optimum_that_fedavg_misses() -> None:
    federation = Federation(
        "feddyn", [(1.0, 1.0), (10.0, -1.0)], [10, 10], local={"optimizer.learning-rate": 0.05}, alpha=1.0
    )
    for _ in range(400):
        x = federation.round()
    assert x == pytest.approx([-9 / 11], abs=1e-5)


@pytest.mark.parametrize("option", [1, 2])
def test_scaffold_at_a_rate_of_zero_stays_finite(option: int) -> None:
    """A rate that has been multiplied by gamma often enough is 0: nothing moves, nothing is divided by it."""
    decay = {"schedule.name": "step", "schedule.step-rounds": 1, "schedule.gamma": 1e-100}
    local = {"optimizer.learning-rate": 1.0, **decay}
    federation = Federation("scaffold", THREE, [2] * 3, start=[0.5], local=local, option=option)
    points = [federation.round() for _ in range(8)]
    assert points[-1] == points[0] != [0.5]
    assert federation.strategy.control["w"].isfinite().all()  # type: ignore[attr-defined]


def test_fedprox_with_the_norm_is_right_where_squares_underflow() -> None:
    federation = Federation("fedprox", [(0, 0)], [1], start=[0.0], mu=0.5, form="norm")
    client = federation.clients[0]
    for distance in (1e-25, 1e-20, 1.0, 1e25):
        client.received = {"arrays": {"w": torch.tensor([0.0, 0.0])}}
        params = {"w": distance * torch.tensor([3.0, 4.0])}
        grads = client.correct_gradients(params, {"w": torch.zeros(2)})
        assert grads["w"].tolist() == pytest.approx([0.3, 0.4], rel=1e-5)
