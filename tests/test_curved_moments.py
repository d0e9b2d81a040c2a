"""Second moments under changing weights: those of the weights themselves, from few rows where few weights change."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.sparse import csr_array

from sk_gdlinear._data.rows import Rows
from sk_gdlinear._data.second_moments import second_moments
from sk_gdlinear._data.standardize import Standardization
from sk_gdlinear._descent import curved_moments as module
from sk_gdlinear._descent.curved_moments import CurvedMoments

IDENTITY = Standardization.identity(3, 1, np.float64)


def moments_of(X, weight):
    """By the definition."""
    mean = np.average(X, axis=0, weights=weight)
    return weight.sum(), mean, (X - mean).T @ (weight[:, None] * (X - mean))


@pytest.mark.parametrize("kind", [np.asarray, csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize("weighted", [False, True])
def test_moments_are_those_of_the_newest_weights(rng, kind, weighted):
    """From one set of weights to the next, which are smaller, larger, and 0."""
    X = rng.normal(size=(200, 3)) + 5.0
    own = rng.integers(0, 3, 200) * 1.0 if weighted else None
    rows = Rows(kind(X), X[:, :1], own, None if own is None else np.flatnonzero(own))
    curved = CurvedMoments(rows, second_moments(rows, IDENTITY))
    for share in (0.7, 0.75, 0.2, 1.0):
        for t in range(2):
            weight = (np.ones(200) if own is None else own) * rng.choice(
                [0.0, 0.5, 1.0], 200, p=[1 - share, 0.1, share - 0.1]
            )
            got = curved.at(IDENTITY, t, weight)
            for value, want in zip((got.count, got.mean, got.products), moments_of(X, weight), strict=True):
                assert_allclose(value, want, rtol=1e-10, atol=1e-10)


def test_only_the_rows_whose_weights_change_are_read(rng, monkeypatch):
    X, read = rng.normal(size=(1000, 3)), []

    def counted(rows, standardization):
        read.append(rows.n_rows)
        return second_moments(rows, standardization)

    monkeypatch.setattr(module, "second_moments", counted)
    rows = Rows(X, X[:, :1])
    curved, weight = CurvedMoments(rows, second_moments(rows, IDENTITY)), np.ones(1000)
    weight[:100] = 0.0
    curved.at(IDENTITY, 0, weight)
    assert sum(read) == 100
    read.clear()
    weight = weight.copy()
    weight[90:95], weight[500:520] = 1.0, 0.0
    curved.at(IDENTITY, 0, weight)
    assert sum(read) == 25
    read.clear()
    weight = np.zeros(1000)
    weight[:50] = 1.0
    curved.at(IDENTITY, 0, weight)
    assert sum(read) == 50, "fewer rows have curvature than change"
