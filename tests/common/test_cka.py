"""Linear CKA: known values and invariances."""

import numpy as np
import pytest

from common.cka import centred_gram, cka_of_grams, linear_cka

X = np.array([[1.0, 0], [0, 1], [-1, -1], [2, 1]])
Y = np.array([[1.0, 2, 0], [0, 1, 1], [1, -1, 2], [3, 0, 1]])
WIDE = np.random.default_rng(0).normal(size=(6, 3, 5))


def test_printed_value():
    assert linear_cka(X, Y) == pytest.approx(0.41651814, abs=1e-8)
    assert linear_cka(Y, X) == pytest.approx(linear_cka(X, Y), abs=1e-15)


def test_itself():
    assert linear_cka(X, X) == pytest.approx(1, abs=1e-15)
    assert linear_cka(WIDE, WIDE) == pytest.approx(1, abs=1e-15)


def test_invariances():
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    moved = 4.2 * Y @ rotation + [1, -2, 300]
    assert linear_cka(X, moved) == pytest.approx(linear_cka(X, Y), abs=1e-12)
    stretched = Y * [1, 5, 1]
    assert abs(linear_cka(X, stretched) - linear_cka(X, Y)) > 0.01


def test_in_terms_of_features():
    """||Y^T X||^2 / (||X^T X|| ||Y^T Y||) of centred features; further axes are flattened."""
    x, y = (value.reshape(len(value), -1) for value in (WIDE, WIDE[..., :2] ** 2))
    x, y = x - x.mean(0), y - y.mean(0)
    expected = np.linalg.norm(y.T @ x) ** 2 / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y)
    assert linear_cka(WIDE, WIDE[..., :2] ** 2) == pytest.approx(expected, abs=1e-12)


def test_orthogonal_and_constant_features():
    a, b = np.array([[1.0], [-1], [0], [0]]), np.array([[0.0], [0], [1], [-1]])
    assert linear_cka(a, b) == 0
    assert np.isnan(linear_cka(a, np.ones((4, 2))))


def test_gram_is_that_of_centred_features():
    gram = centred_gram(X)
    centring = np.eye(4) - 1 / 4
    np.testing.assert_allclose(gram, centring @ X @ X.T @ centring, atol=1e-12)
    assert cka_of_grams(gram, centred_gram(Y)) == linear_cka(X, Y)
