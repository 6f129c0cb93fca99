from dataclasses import replace

import numpy as np
import torch

from datasets.dataset import Dataset, Split
from datasets.digests import form_digests, sample_digests


def make(inputs: torch.Tensor, **other: object) -> Dataset:
    split = Split(inputs, torch.arange(len(inputs)) % 2)
    values = {"class_names": ("a", "b"), "mean": (), "std": (), "kind": "tokens", **other}
    return Dataset("made", split, None, split, 2, **values)  # type: ignore[arg-type]


TOKENS = torch.arange(60).reshape(20, 3)
ALL = np.arange(20)


def test_digests_are_short_and_the_same_for_the_same_data() -> None:
    one, other = make(TOKENS), make(TOKENS.clone())
    assert form_digests(one) == form_digests(other)
    assert sample_digests(one, ALL) == sample_digests(other, ALL)
    assert all(len(digest) == 16 for digest in form_digests(one) + sample_digests(one, ALL))


def test_what_changes_which() -> None:
    made = make(TOKENS)
    classes, inputs = form_digests(made)
    assert form_digests(replace(made, class_names=("b", "a"))) == [
        form_digests(make(TOKENS, class_names=("b", "a")))[0],
        inputs,
    ]
    assert form_digests(replace(made, class_names=("b", "a")))[0] != classes
    assert form_digests(replace(made, vocabulary=("x",)))[1] != inputs
    samples, values = sample_digests(made, ALL)
    assert sample_digests(made, ALL[:19])[0] != samples
    assert sample_digests(made, ALL[::-1].copy())[0] != samples
    relabelled = replace(made, train=Split(TOKENS, made.train.targets.flip(0)))
    assert sample_digests(relabelled, ALL)[0] != samples
    assert sample_digests(relabelled, ALL)[1] == values
    assert sample_digests(make(TOKENS + 1), ALL) != [samples, values]


def test_the_last_bits_of_features_do_not_count() -> None:
    features = TOKENS.float()
    assert sample_digests(make(features), ALL) == sample_digests(
        make(torch.nextafter(features, features + 1)), ALL
    )


def test_standardising_changes_no_digest_and_other_features_do() -> None:
    features = torch.randn(20, 30, generator=torch.Generator().manual_seed(0)).double()
    mean, spread = features.mean(0), features.std(0)
    samples, values = sample_digests(make(features), ALL)
    assert sample_digests(make(((features - mean) / spread).float()), ALL) == [samples, values]
    for other in (features.flip(0), features.flip(1), torch.randn(20, 30), torch.zeros(20, 30)):
        assert sample_digests(make(other), ALL)[1] != values


def test_a_client_without_samples_has_digests() -> None:
    assert len(sample_digests(make(TOKENS), ALL[:0])) == 2
