"""Label skew by a Dirichlet distribution, in the variants to which the literature gives the same name."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from common.errors import UserError
from datasets.partition import Partition
from datasets.partitions._client_dirichlet import client_mixtures
from datasets.partitions._dealing import IndexArray
from datasets.partitions._niid_bench import NIID_BENCH_MIN_SIZE, retried_dirichlet
from datasets.partitions._repaired_dirichlet import repaired_dirichlet


def partition(
    targets: IndexArray,
    num_clients: int,
    generator: np.random.Generator,
    *,
    alpha: Annotated[float, Field(gt=0)] = 0.5,
    variant: Literal["repair", "niid-bench", "plain", "hsu", "balanced"] = "repair",
    min_size: Annotated[int, Field(ge=0)] = 0,
    alpha_is_total: bool = False,
) -> Partition:
    """Skew the clients' label distributions; a small ``alpha`` means strong skew.

    Parameters
    ----------
    targets, num_clients, generator
        See `datasets.partitions.make_partition`.
    alpha : float, default 0.5
        Concentration. It does not mean the same in all variants.
    variant : str, default "repair"
        ``repair``: each class is cut by a draw over clients as in NIID-Bench; clients below ``min_size``
        are then filled up from the largest ones, so that it terminates for every ``alpha``.
        ``niid-bench``: Li et al. (ICDE 2022), drawn again until every client has ``min_size`` samples.
        ``plain``: the same without NIID-Bench's mask over clients that have their fair share.
        ``hsu``: Hsu et al. (2019), a class mixture per client and exactly equal client sizes.
        ``balanced``: as ``hsu``, but all samples are used and sizes differ by at most one.
    min_size : int, default 0
        Smallest client of the first three variants. 0 stands for 10 (``niid-bench``, ``plain``) or for
        half the mean size but at most 10 (``repair``).
    alpha_is_total : bool, default False
        For ``hsu``: whether ``alpha`` is spread over the classes by their frequency, as the paper writes,
        or is the concentration of every class, as is usual in code.
    """
    _check_combination(variant, min_size, alpha_is_total)
    mean_size = len(targets) // num_clients
    if min_size > mean_size:
        raise UserError(
            f"partition.min-size {min_size} is impossible: the mean client size is {mean_size};"
            " lower it or clients.count"
        )
    if variant == "repair":
        smallest = min_size or max(1, min(NIID_BENCH_MIN_SIZE, len(targets) // (2 * num_clients)))
        return repaired_dirichlet(targets, num_clients, generator, alpha, smallest)
    if variant in ("hsu", "balanced"):
        return client_mixtures(
            targets, num_clients, generator, alpha, alpha_is_total, use_all=variant == "balanced"
        )
    legacy_generator = np.random.RandomState(int(generator.integers(2**32)))
    return retried_dirichlet(
        targets,
        num_clients,
        alpha,
        legacy_generator,
        min_size or NIID_BENCH_MIN_SIZE,
        masked=variant == "niid-bench",
    )


def _check_combination(variant: str, min_size: int, alpha_is_total: bool) -> None:
    if min_size > 0 and variant in ("hsu", "balanced"):
        raise UserError(f"partition.min-size has no meaning for variant {variant!r}, whose sizes are equal")
    if alpha_is_total and variant != "hsu":
        raise UserError(f"partition.alpha-is-total applies to variant 'hsu' only, not to {variant!r}")
