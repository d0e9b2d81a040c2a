"""Rows whose columns lie in memory one after the other, as in data frames."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sk_gdlinear import GDLinearRegressor
from sk_gdlinear._data import layout
from sk_gdlinear._data.layout import _copy_columns, row_by_row
from sk_gdlinear._data.threads import threads

SIZES = [1, 2, 7, 8, 9, 16, 17, 33, 100]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n_columns", [1, 2, 3, 4, 5, 8, 13])
def test_a_copy_row_by_row_has_the_same_numbers(dtype, n_columns):
    """Also of some rows, of every other row, and of rows or columns in reverse order."""
    rng = np.random.default_rng(0)
    for n in SIZES:
        columns = np.asfortranarray(rng.normal(size=(2 * n, n_columns)).astype(dtype))
        columns.setflags(write=False)
        for X in (columns, columns[n:], columns[::2], columns[::-1], columns[:, ::-1], columns[:, ::2]):
            copy = row_by_row(X)
            assert copy.flags.c_contiguous
            assert copy.dtype == dtype
            assert_array_equal(copy, X)


def test_rows_that_lie_one_after_the_other_are_not_copied():
    X = np.ones((3, 2))
    assert row_by_row(X) is X


@pytest.mark.skipif(layout.dense is None, reason="the kernels are not built")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_compiled_copy_equals_the_reference(dtype):
    for n in SIZES:
        X, copies = np.asfortranarray(np.arange(7.0 * n, dtype=dtype).reshape(n, 7)), []
        for copy_columns in (_copy_columns, layout.dense.copy_columns):
            copies.append(np.full((n, 7), np.nan, dtype))
            copy_columns(X, copies[-1])
        assert_array_equal(*copies)
    for wrong in (np.empty((n, 6), dtype), np.empty((n + 1, 7), dtype)):
        with pytest.raises(ValueError, match="contiguous columns"):
            layout.dense.copy_columns(X, wrong)
    with pytest.raises(ValueError, match="contiguous columns"):
        layout.dense.copy_columns(np.ones((4, 3), dtype), np.empty((4, 3), dtype))


def test_threads_copy_the_same():
    X = np.asfortranarray(np.random.default_rng(0).normal(size=(101, 5)))
    with threads(3, 1 << 30):
        assert_array_equal(row_by_row(X), X)


@pytest.mark.parametrize("kind", ["columns", "frame", "integers"])
def test_the_layout_does_not_change_a_fit(kind):
    rng = np.random.default_rng(0)
    X = np.round(rng.normal(size=(60, 3)) * 10.0)
    y = X @ [1.0, 2.0, 3.0] + rng.normal(size=60)
    other = np.asfortranarray(X)
    if kind == "frame":
        other = pytest.importorskip("pandas").DataFrame(X, columns=list("abc"))
    elif kind == "integers":
        other = np.asfortranarray(X.astype(np.int64))
    before = np.array(other, copy=True)
    models = [GDLinearRegressor(random_state=0).fit(rows, y) for rows in (X, other)]
    assert_array_equal(models[1].coef_, models[0].coef_)
    assert_array_equal(other, before)
