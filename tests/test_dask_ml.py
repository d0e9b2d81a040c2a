"""dask-ml's own wrapper, as it stands, around the estimator."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.linear_model import LinearRegression

from sk_gdlinear import GDLinearRegressor

da = pytest.importorskip("dask.array", reason="dask-ml works on dask arrays")
wrappers = pytest.importorskip("dask_ml.wrappers", reason="the wrapper is dask-ml's")


def test_incremental_is_partial_fit_over_the_blocks(rng, seed):
    X = rng.normal(size=(4_000, 5)) * [0.01, 0.1, 1.0, 10.0, 100.0] + 3.0
    y = X @ [100.0, 10.0, 1.0, 0.1, 0.01] + rng.normal(size=len(X))
    blocks = [da.from_array(a, chunks=(500, *a.shape[1:])) for a in (X, y)]
    model = wrappers.Incremental(GDLinearRegressor(random_state=seed), shuffle_blocks=False).fit(*blocks)
    loop = GDLinearRegressor(random_state=seed)
    for rows in np.array_split(np.arange(len(X)), 8):
        loop.partial_fit(X[rows], y[rows])
    assert_array_equal(model.coef_, loop.coef_)
    assert_array_equal(model.predict(blocks[0]).compute(), loop.predict(X))
    # On dask arrays dask-ml's score fails with its own r2_score, for SGDRegressor too.
    assert model.score(X, y) >= LinearRegression().fit(X, y).score(X, y) - 0.005
