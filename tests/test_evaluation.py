"""Mean loss of given weights against its formula, and the blocks of rows over which it is taken."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.sparse import csr_array

from sk_gdlinear._conditioning import Conditioning
from sk_gdlinear._evaluation import OBJECTIVE_BLOCKS, OBJECTIVE_NUMBERS, OBJECTIVE_ROWS, block_rows, mean_loss
from sk_gdlinear._objective import huber, squared_error
from sk_gdlinear._rows import Data


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kind", ["dense", "dense without its kernel", "sparse", "sparse without its kernel"])
@pytest.mark.parametrize("weighted", [False, True, "zeros"])
def test_mean_loss_is_the_weighted_mean_over_the_rows_that_count(rng, weighted, kind, dtype, monkeypatch):
    n, d, k = 4_400, 3, 2  # of more than two blocks
    monkeypatch.setattr("sk_gdlinear._evaluation.OBJECTIVE_NUMBERS", 1)
    if "without" in kind:
        monkeypatch.setattr("sk_gdlinear._evaluation.kernel_for", lambda X: None)
    X = rng.normal([2.0, -1.0, 0.5], [1.0, 3.0, 0.2], size=(n, d)).astype(dtype)
    Y = (X @ rng.normal(size=(d, k)) + rng.normal([5.0, -300.0], [1.0, 40.0], size=(n, k))).astype(dtype)
    weight = None
    if weighted:
        weight = rng.integers(0 if weighted == "zeros" else 1, 4, n).astype(dtype)
    c = Conditioning(*(a.astype(dtype) for a in (X.mean(axis=0), 1 / X.std(axis=0), Y.mean(axis=0), 1 / Y.std(axis=0))))
    W, b = (rng.normal(size=shape).astype(dtype) for shape in ((k, d), k))
    index = np.flatnonzero(weight) if weighted == "zeros" else None
    data = Data(csr_array(X) if kind.startswith("sparse") else X, Y, weight, index)
    loss = huber(None, 0.5)[1].scaled(np.ones(2), np.float64)
    got = mean_loss(data, c, loss, W, b)
    X, Y, W, b, shift, scale, middle, unit = (a.astype(np.float64) for a in (X, Y, W, b, *c))
    e = np.abs((X - shift) * scale @ W.T + b - (Y - middle) * unit)
    value = np.where(e < 0.5, e**2 / 2, 0.5 * (e - 0.25))
    assert_allclose(got, np.average(value, axis=0, weights=weight), rtol=1e-12 if dtype == np.float64 else 1e-5)


@pytest.mark.parametrize("sparse", [False, True])
def test_mean_loss_of_float32_rows_keeps_its_digits_where_offsets_dwarf_the_spread(rng, sparse):
    """Of offsets 1e5 times the spread, products in float32 would leave two digits of a small error."""
    X = (1e5 + rng.normal(size=(500, 3))).astype(np.float32)
    shift = X.mean(axis=0, dtype=np.float64).astype(np.float32)
    Z, W = X.astype(np.float64) - shift, np.array([[1.1, -2.3, 0.7]], np.float32)
    Y = (Z @ W.T + 0.01 * rng.normal(size=(500, 1))).astype(np.float32)
    c = Conditioning(shift, np.ones(3, np.float32), np.zeros(1, np.float32), np.ones(1, np.float32))
    got = mean_loss(Data(csr_array(X) if sparse else X, Y), c, squared_error(None)[1], W, np.zeros(1, np.float32))
    assert_allclose(got, ((Z @ W.T - Y) ** 2).mean() / 2, rtol=1e-3)


@pytest.mark.parametrize("index", [False, True])
def test_mean_loss_of_every_fourth_block_is_that_of_its_rows(rng, index):
    n, d = 80_100, 64
    X, Y, W = rng.normal(size=(n, d)), rng.normal(size=(n, 1)), rng.normal(size=(1, d))
    rows = np.flatnonzero(np.arange(n) // (n // 64) % 4 == 0)  # of 64 blocks and a rest
    if index:
        places = rng.permutation(n).astype(np.intp)
        rows = places[rows]
    got = mean_loss(
        Data(X, Y, None, places if index else None),
        Conditioning.identity(d, 1, np.float64),
        squared_error(None)[1],
        W,
        np.zeros(1),
        every=4,
    )
    assert_allclose(got, [((X[rows] @ W.T - Y[rows]) ** 2).mean() / 2], rtol=1e-12)


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize(("n", "d", "k"), [(2_000_000, 50, 1), (2_000_000, 1, 70), (100_000, 10, 1), (3_000, 4, 1)])
def test_blocks_fit_in_cache_and_lie_in_all_parts_of_the_data(n, d, k, every):
    X, Y = (np.broadcast_to(0.0, (n, columns)) for columns in (d, k))
    rows = block_rows(Data(X, Y), every)
    assert rows == OBJECTIVE_ROWS or (rows * max(d, k) <= OBJECTIVE_NUMBERS and n // rows >= OBJECTIVE_BLOCKS * every)
    more = rows + OBJECTIVE_ROWS  # they are as long as that allows
    assert more * max(d, k) > OBJECTIVE_NUMBERS or n // more < OBJECTIVE_BLOCKS * every
