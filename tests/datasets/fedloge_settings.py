"""The settings of FedLoGe (Xiao et al., ICLR 2024) and what its authors' code gives for them, seed 3407."""

from typing import NamedTuple

import numpy as np

from datasets.long_tail import long_tail_counts
from datasets.partition_report import label_counts
from datasets.partitions import make_partition


class Setting(NamedTuple):
    """CIFAR with n classes, cut by `factor` and dealt by Dir(alpha); what the clients then hold."""

    classes: int
    alpha: float
    factor: float
    client_sizes: tuple[int, ...]


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split()))


SETTINGS = {
    "a": Setting(
        10,
        0.5,
        0.02,
        _sizes(
            "226 200 143 400 329 90 221 637 842 250 726 518 793 161 235 161 218 559 487 418 "
            "221 234 176 162 239 66 600 183 189 512 995 619 558 431 282 158 224 122 172 239"
        ),
    ),
    "b": Setting(
        10,
        0.5,
        0.01,
        _sizes(
            "215 141 207 171 243 132 178 751 618 173 602 559 821 446 221 157 127 436 273 246 "
            "171 124 90 190 252 91 656 129 194 482 1106 528 243 102 215 267 348 153 172 176"
        ),
    ),
    "c": Setting(
        10,
        1.0,
        0.02,
        _sizes(
            "265 279 338 591 172 409 312 232 279 477 176 429 333 411 584 232 421 272 720 416 "
            "259 196 674 238 312 303 589 331 154 215 204 284 372 384 146 430 472 449 308 328"
        ),
    ),
    "d": Setting(
        10,
        1.0,
        0.01,
        _sizes(
            "257 284 401 688 137 360 251 282 255 443 163 390 288 184 530 169 295 376 627 386 "
            "189 195 730 261 348 298 518 126 167 240 210 195 351 229 96 224 390 483 166 224"
        ),
    ),
    "e": Setting(
        100,
        0.5,
        0.02,
        _sizes("557 682 644 784 649 592 581 632 626 509 613 1030 437 665 576 487 584 708 637 615"),
    ),
    "f": Setting(
        100,
        0.5,
        0.01,
        _sizes("573 766 469 733 726 766 466 320 676 410 554 546 535 512 586 396 460 448 431 474"),
    ),
    "g": Setting(
        100,
        1.0,
        0.02,
        _sizes("570 712 662 720 618 725 737 505 658 678 817 646 671 616 477 642 488 544 629 493"),
    ),
    "h": Setting(
        100,
        1.0,
        0.01,
        _sizes("496 625 562 489 532 550 584 692 545 549 522 470 575 454 619 636 549 522 377 499"),
    ),
    "readme": Setting(
        100,
        0.5,
        0.01,
        _sizes(
            "264 285 233 378 283 185 318 263 231 256 187 218 317 207 306 213 270 263 406 383 "
            "297 368 255 297 233 224 202 230 330 325 196 315 186 299 265 199 289 305 244 322"
        ),
    ),
}


# Two that are known by what their clients are tested on, not by the clients' sizes.
FURTHER = {"K=100": (Setting(100, 0.5, 0.01, ()), 100), "K=40": (Setting(100, 0.5, 0.02, ()), 40)}


def long_tailed(setting: Setting) -> np.ndarray:
    counts = long_tail_counts(50_000 / setting.classes, setting.classes, setting.factor)
    return np.repeat(np.arange(setting.classes), counts)


def deal_long_tailed(targets: np.ndarray, clients: int, **parameters: float) -> list[np.ndarray]:
    given = {key.replace("_", "-"): value for key, value in parameters.items()}
    return make_partition("fed-lt", targets, clients, np.random.default_rng(0), given)


def counts_of(name: str) -> np.ndarray:
    setting, clients = FURTHER[name] if name in FURTHER else (SETTINGS[name], 0)
    targets = long_tailed(setting)
    parts = deal_long_tailed(targets, clients or len(setting.client_sizes), alpha=setting.alpha)
    return label_counts(targets, parts, setting.classes)
