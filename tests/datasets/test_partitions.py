import time
import warnings
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from common.errors import UserError
from datasets.partition_report import label_counts
from datasets.partitions import available_partitions, make_partition, partition_parameters
from datasets.partitions._niid_bench import niid_bench_dirichlet
from datasets.partitions._top_up import top_up

CIFAR100_TRAINING_TARGETS = np.repeat(np.arange(100), 450)


def partition(name: str, targets: np.ndarray, num_clients: int, seed: int = 0, **parameters: object) -> list:
    spelled = {key.replace("_", "-"): value for key, value in parameters.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return make_partition(name, targets, num_clients, np.random.default_rng(seed), spelled)


def assert_well_formed(parts: Sequence[np.ndarray], num_samples: int, num_clients: int) -> None:
    assert len(parts) == num_clients
    for indices in parts:
        assert indices.dtype == np.int64
        assert (np.diff(indices) > 0).all()
    together = np.concatenate(parts)
    assert len(np.unique(together)) == len(together)
    assert together.min() >= 0
    assert together.max() < num_samples


def sizes(parts: Sequence[np.ndarray]) -> list[int]:
    return [len(indices) for indices in parts]


targets_strategy = st.lists(st.integers(0, 5), min_size=1, max_size=120).map(
    lambda labels: np.array(labels, dtype=np.int64)
)
seeds = st.integers(0, 2**32 - 1)


def test_schemes_are_found_by_file_name() -> None:
    assert available_partitions() == [
        "classes", "dirichlet", "fed-lt", "hetero", "hetero-fixed", "homo", "iid", "natural", "pachinko",
        "quantity",
    ]  # fmt: skip
    assert partition_parameters("classes") == ["classes-per-client", "variant"]
    assert partition_parameters("iid") == ["stratified"]


@given(targets_strategy, st.data(), seeds, st.booleans())
def test_iid_uses_all_samples_evenly(
    targets: np.ndarray, data: st.DataObject, seed: int, stratified: bool
) -> None:
    num_clients = data.draw(st.integers(1, len(targets)))
    parts = partition("iid", targets, num_clients, seed, stratified=stratified)
    assert_well_formed(parts, len(targets), num_clients)
    assert sum(sizes(parts)) == len(targets)
    assert max(sizes(parts)) - min(sizes(parts)) <= 1
    if stratified:
        assert np.ptp(label_counts(targets, parts, 6), axis=0).max() <= 1


def test_iid_on_cifar100_gives_4_or_5_of_every_class() -> None:
    parts = partition("iid", CIFAR100_TRAINING_TARGETS, 100)
    assert sizes(parts) == [450] * 100
    assert set(label_counts(CIFAR100_TRAINING_TARGETS, parts, 100).ravel()) == {4, 5}


@pytest.mark.parametrize("classes_per_client", [1, 5, 10, 50, 100])
def test_classes_on_cifar100(classes_per_client: int) -> None:
    started = time.perf_counter()
    parts = partition("classes", CIFAR100_TRAINING_TARGETS, 100, classes_per_client=classes_per_client)
    assert time.perf_counter() - started < 1
    assert_well_formed(parts, 45000, 100)
    assert sizes(parts) == [450] * 100
    counts = label_counts(CIFAR100_TRAINING_TARGETS, parts, 100)
    if 450 % classes_per_client == 0:
        assert set(counts.ravel()) - {0} == {450 // classes_per_client}
    assert ((counts > 0).sum(axis=1) == classes_per_client).all()
    # Label sets are random: far more than the 100 / N_c of the cyclic deal.
    if classes_per_client in (5, 10, 50):
        assert len(np.unique(counts > 0, axis=0)) > 100 / classes_per_client


@given(st.lists(st.integers(20, 60), min_size=2, max_size=12), st.integers(1, 20), st.data(), seeds)
@settings(deadline=None)
def test_classes_invariants(class_sizes: list[int], num_clients: int, data: st.DataObject, seed: int) -> None:
    classes_per_client = data.draw(st.integers(1, len(class_sizes)))
    targets = np.repeat(np.arange(len(class_sizes)), class_sizes)
    parts = partition("classes", targets, num_clients, seed, classes_per_client=classes_per_client)
    assert_well_formed(parts, len(targets), num_clients)
    assert max(sizes(parts)) - min(sizes(parts)) <= 1
    counts = label_counts(targets, parts, len(class_sizes))
    assert ((counts > 0).sum(axis=1) == classes_per_client).all()
    again = partition("classes", targets, num_clients, seed, classes_per_client=classes_per_client)
    assert all(map(np.array_equal, parts, again))


def test_top_up_moves_a_client_to_its_other_class() -> None:
    counts = np.zeros((2, 2), dtype=np.int64)
    # The first client takes class 0, the only one that the second owns, and has to give it back.
    top_up(counts, np.array([[True, True], [True, False]]), np.array([1, 1]))
    assert counts.tolist() == [[0, 1], [1, 0]]


@given(arrays(bool, (6, 4)), st.lists(st.integers(0, 2), min_size=4, max_size=4))
@settings(deadline=None)
def test_top_up_serves_a_maximum_matching_in_its_last_round(owns: np.ndarray, leftover: list[int]) -> None:
    owns[:, 0] = True
    # One client owns nothing that is left, so that the first round is the last.
    owns = np.pad(owns, ((0, 1), (0, 1)))
    owns[-1, -1] = True
    counts = np.zeros(owns.shape, dtype=np.int64)
    top_up(counts, owns, np.array([*leftover, 0]))
    clients_by_samples = csr_array(np.repeat(owns, [*leftover, 0], axis=1))
    assert counts.sum() == (maximum_bipartite_matching(clients_by_samples) >= 0).sum()
    assert counts.sum(axis=1).max() <= 1
    assert (counts.sum(axis=0) <= [*leftover, 0]).all()
    assert not counts[~owns].any()


def test_classes_reports_unused_classes_and_left_out_samples() -> None:
    with pytest.warns(UserWarning, match="no client holds the classes"):
        make_partition(
            "classes", np.repeat([0, 1, 2, 3], 5), 2, np.random.default_rng(0), {"classes-per-client": 1}
        )
    with pytest.warns(UserWarning, match="4 samples are left out"):
        make_partition(
            "classes", np.repeat([0, 1], [5, 10]), 2, np.random.default_rng(0), {"classes-per-client": 1}
        )


def test_classes_skips_labels_without_samples() -> None:
    parts = partition("classes", np.repeat([1, 4], 6), 3, classes_per_client=2)
    assert sizes(parts) == [4, 4, 4]


@given(
    targets_strategy,
    st.data(),
    st.floats(-8, 4).map(lambda exponent: 10**exponent),
    seeds,
)
@settings(deadline=None)
def test_repaired_dirichlet_uses_all_samples_and_leaves_nobody_empty(
    targets: np.ndarray, data: st.DataObject, alpha: float, seed: int
) -> None:
    num_clients = data.draw(st.integers(1, len(targets)))
    parts = partition("dirichlet", targets, num_clients, seed, alpha=alpha)
    assert_well_formed(parts, len(targets), num_clients)
    assert sum(sizes(parts)) == len(targets)
    assert min(sizes(parts)) >= max(1, min(10, len(targets) // (2 * num_clients)))
    again = partition("dirichlet", targets, num_clients, seed, alpha=alpha)
    assert all(map(np.array_equal, parts, again))


@pytest.mark.parametrize("alpha", [5e-324, 1e-300, 1e-8, 1e-3, 1e4, 1e300])
@pytest.mark.parametrize("num_clients", [1, 3, 1000, 45000])
def test_repaired_dirichlet_ends_soon_for_any_alpha(alpha: float, num_clients: int) -> None:
    started = time.perf_counter()
    parts = partition("dirichlet", CIFAR100_TRAINING_TARGETS, num_clients, alpha=alpha)
    assert time.perf_counter() - started < 10
    assert sum(sizes(parts)) == 45000
    assert min(sizes(parts)) >= 1


def test_dirichlet_alpha_means_skew() -> None:
    def mean_classes_held(alpha: float) -> float:
        parts = partition("dirichlet", CIFAR100_TRAINING_TARGETS, 20, alpha=alpha)
        return float((label_counts(CIFAR100_TRAINING_TARGETS, parts, 100) > 0).sum(axis=1).mean())

    # One owner per class, and hence five classes per client, in the limit; all of them at the other end.
    assert mean_classes_held(1e-8) == pytest.approx(5, abs=0.5)
    assert 20 < mean_classes_held(0.5) < 90
    assert mean_classes_held(1e4) > 90


def test_min_size_is_kept() -> None:
    parts = partition("dirichlet", CIFAR100_TRAINING_TARGETS, 100, alpha=0.01, min_size=450)
    assert sizes(parts) == [450] * 100


@given(
    targets_strategy,
    st.data(),
    st.floats(-8, 4).map(lambda exponent: 10**exponent),
    st.sampled_from([("hsu", False), ("hsu", True), ("balanced", False)]),
    seeds,
)
@settings(deadline=None)
def test_client_mixtures_have_equal_sizes(
    targets: np.ndarray, data: st.DataObject, alpha: float, variant: tuple[str, bool], seed: int
) -> None:
    name, is_total = variant
    num_clients = data.draw(st.integers(1, len(targets)))
    parameters = {"alpha": alpha, "variant": name, "alpha_is_total": is_total}
    parts = partition("dirichlet", targets, num_clients, seed, **parameters)
    assert_well_formed(parts, len(targets), num_clients)
    if name == "hsu":
        assert set(sizes(parts)) == {len(targets) // num_clients}
    else:
        assert sum(sizes(parts)) == len(targets)
        assert max(sizes(parts)) - min(sizes(parts)) <= 1
    assert all(map(np.array_equal, parts, partition("dirichlet", targets, num_clients, seed, **parameters)))


def test_hsu_limits_are_one_class_and_the_prior() -> None:
    one_class = partition("dirichlet", CIFAR100_TRAINING_TARGETS, 100, variant="hsu", alpha=1e-8)
    first = label_counts(CIFAR100_TRAINING_TARGETS, one_class[:1], 100)
    assert (first > 0).sum() == 1
    even = partition("dirichlet", CIFAR100_TRAINING_TARGETS, 10, variant="hsu", alpha=1e6)
    assert label_counts(CIFAR100_TRAINING_TARGETS, even, 100).mean() == 45
    assert label_counts(CIFAR100_TRAINING_TARGETS, even, 100)[0].std() < 12


def test_hsu_total_alpha_is_alpha_over_classes_for_a_uniform_prior() -> None:
    total = partition(
        "dirichlet", CIFAR100_TRAINING_TARGETS, 10, variant="hsu", alpha=50.0, alpha_is_total=True
    )
    per_class = partition("dirichlet", CIFAR100_TRAINING_TARGETS, 10, variant="hsu", alpha=0.5)
    assert all(map(np.array_equal, total, per_class))


def test_niid_bench_oracle_three_classes() -> None:
    targets = np.arange(120) % 3
    first = niid_bench_dirichlet(targets, 4, 0.5, seed=0)
    assert sizes(first) == [34, 33, 30, 23]
    assert label_counts(targets, first, 3).tolist() == [[20, 14, 0], [18, 15, 0], [1, 9, 20], [1, 2, 20]]
    second = niid_bench_dirichlet(targets, 4, 0.5, seed=1)
    assert sizes(second) == [21, 27, 36, 36]
    assert label_counts(targets, second, 3).tolist() == [[16, 1, 4], [23, 2, 2], [0, 36, 0], [1, 1, 34]]


def test_niid_bench_oracle_ten_classes() -> None:
    parts = niid_bench_dirichlet(np.repeat(np.arange(10), 100), 10, 0.5, seed=0)
    assert sizes(parts) == [101, 116, 107, 103, 32, 128, 92, 95, 109, 117]


def test_niid_bench_indices_equal_the_published_loop() -> None:
    targets = np.random.default_rng(5).integers(0, 4, 300)
    legacy = np.random.RandomState(7)
    smallest = 0
    while smallest < 10:
        batches: list[list[int]] = [[] for _ in range(6)]
        for label in range(4):
            pool = np.where(targets == label)[0]
            legacy.shuffle(pool)
            shares = legacy.dirichlet(np.repeat(0.3, 6))
            shares = np.array([p * (len(b) < 300 / 6) for p, b in zip(shares, batches, strict=True)])
            shares = shares / shares.sum()
            cuts = (np.cumsum(shares) * len(pool)).astype(int)[:-1]
            batches = [b + piece.tolist() for b, piece in zip(batches, np.split(pool, cuts), strict=True)]
        smallest = min(map(len, batches))
    parts = niid_bench_dirichlet(targets, 6, 0.3, seed=7)
    assert [indices.tolist() for indices in parts] == [sorted(batch) for batch in batches]


@pytest.mark.parametrize("variant", ["niid-bench", "plain"])
def test_retried_variants(variant: str) -> None:
    parts = partition("dirichlet", CIFAR100_TRAINING_TARGETS, 50, variant=variant)
    assert_well_formed(parts, 45000, 50)
    assert sum(sizes(parts)) == 45000
    assert min(sizes(parts)) >= 10
    with pytest.raises(UserError, match="after 1000 tries the smallest client has at best 0 samples"):
        partition("dirichlet", np.arange(60) % 2, 6, variant=variant, alpha=1e-8)


def test_other_seed_other_partition() -> None:
    for name in set(available_partitions()) - {"natural", "hetero-fixed", "fed-lt"}:
        first = partition(name, CIFAR100_TRAINING_TARGETS, 10, seed=0)
        second = partition(name, CIFAR100_TRAINING_TARGETS, 10, seed=1)
        assert not all(map(np.array_equal, first, second))


@pytest.mark.parametrize(
    ("name", "num_clients", "parameters", "complaint"),
    [
        ("dirichlett", 2, {}, r"partition\.name: there is no 'dirichlett'; did you mean 'dirichlet'\?"),
        ("_dealing", 2, {}, "there is no '_dealing'"),
        ("dirichlet", 2, {"alpa": 1.0}, r"no parameter 'partition\.alpa'; did you mean 'alpha'\?"),
        ("dirichlet", 2, {"alpha": 0.0}, "partition.alpha must be greater than 0"),
        ("dirichlet", 2, {"alpha": -1}, "partition.alpha must be greater than 0"),
        ("dirichlet", 2, {"alpha": float("nan")}, "partition.alpha must be"),
        ("dirichlet", 2, {"alpha": float("inf")}, "partition.alpha must be a finite number"),
        ("dirichlet", 2, {"alpha": "0.5"}, "partition.alpha must be a valid number"),
        ("dirichlet", 2, {"alpha": True}, "partition.alpha must be a valid number"),
        ("dirichlet", 2, {"variant": "niid"}, "must be 'repair', 'niid-bench'"),
        ("dirichlet", 2, {"min-size": -1}, "partition.min-size must be"),
        ("dirichlet", 2, {"min-size": 11}, "mean client size is 10"),
        ("dirichlet", 2, {"min-size": 1, "variant": "hsu"}, "no meaning"),
        ("dirichlet", 2, {"alpha-is-total": True}, "variant 'hsu' only"),
        ("classes", 2, {"classes-per-client": 3}, "between 1 and the number of classes"),
        ("classes", 2, {"classes-per-client": 0}, "between 1 and the number of classes"),
        ("classes", 2, {"classes-per-client": 1.5}, "must be a valid integer"),
        ("classes", 15, {"classes-per-client": 2}, "class 0 has 10 samples for 15 clients"),
        ("iid", 21, {}, "more than the 20 training samples"),
        ("iid", 0, {}, "at least 1"),
        ("iid", 2, {"stratified": 1}, "must be a valid boolean"),
    ],
)
def test_wrong_configuration_is_one_clear_line(
    name: str, num_clients: int, parameters: dict[str, object], complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint) as caught:
        make_partition(name, np.repeat([0, 1], 10), num_clients, np.random.default_rng(0), parameters)
    assert "\n" not in str(caught.value)


@given(st.lists(st.integers(0, 4), min_size=5, max_size=60), seeds)
def test_natural_gives_every_client_its_own(drawn: list[int], seed: int) -> None:
    clients = np.array([*range(5), *drawn])
    parts = make_partition(
        "natural", np.zeros(len(clients), dtype=np.int64), 5, np.random.default_rng(seed), {}, clients
    )
    assert_well_formed(parts, len(clients), 5)
    assert sum(sizes(parts)) == len(clients)
    for client, indices in enumerate(parts):
        assert (clients[indices] == client).all()


def test_natural_without_natural_clients_says_what_to_do() -> None:
    with pytest.raises(UserError, match="such as dataset 'shakespeare'"):
        partition("natural", np.arange(4), 2)
    with pytest.raises(UserError, match=r"clients.count is 3, but the data have 2"):
        make_partition("natural", np.zeros(4), 3, np.random.default_rng(0), {}, np.array([0, 0, 1, 1]))
