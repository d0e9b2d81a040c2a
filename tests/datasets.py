"""Raw data known to be hard for gradient descent, made from a seed: every maker returns ``(X, y)``.

X is a C-ordered float64 array in units that nobody scaled. The targets have little noise, so that `builders.exact_r2`
of each is well above 0.
"""

import numpy as np

NOISE = 0.3  # standard deviation of the noise; every informative column adds a signal of about 1


def gaussian(n=500, d=5, n_targets=None, seed=0):
    """Well-behaved normal columns; `n_targets` makes y of shape (n, n_targets)."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    shape = (d,) if n_targets is None else (d, n_targets)
    y = X @ rng.standard_normal(shape)
    return X, y + rng.normal(scale=NOISE, size=y.shape)


def wild_scales(n=5_000, d=13, seed=0):
    """Columns of scale 1e-6 to 1e6, their offsets 0, 1, 1e3 or 1e6 times the scale, either sign."""
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((n, d))
    y = Z @ rng.choice([-1.0, 1.0], size=d) + rng.normal(scale=NOISE, size=n)
    offset = np.resize([1e6, 0.0, -1e3, 1.0, -1e6], d)  # 5 and 13 share no factor: scales and offsets mix
    return (Z + offset) * rng.permutation(np.geomspace(1e-6, 1e6, d)), y


def rare_one_hot(n=50_000, counts=(1, 1, 5, 50, 5_000), d=4, seed=0):
    """`d` normal columns, then one 0/1 column for every entry of `counts`, set in that many rows.

    The categories exclude each other. The rarer one is, the more its rows stand out: what it explains of y
    stays small and its coefficient (up to 50) is large.
    """
    rng = np.random.default_rng(seed)
    X = np.zeros((n, d + len(counts)))
    X[:, :d] = rng.standard_normal((n, d))
    rows = np.split(rng.permutation(n)[: sum(counts)], np.cumsum(counts)[:-1])
    for column, members in enumerate(rows, start=d):
        X[members, column] = 1.0
    effect = 50.0 / np.sqrt(np.asarray(counts)) * rng.choice([-1.0, 1.0], size=len(counts))
    coef = np.concatenate([rng.choice([-1.0, 1.0], size=d), effect])
    return X, X @ coef + rng.normal(scale=NOISE, size=n)


def degenerate(n=1_000, seed=0):
    """Three informative columns; constants 0, 0.1, 1 and 1e6; a copy; a negative, rescaled, moved copy."""
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((n, 3))
    constants = np.tile([0.0, 0.1, 1.0, 1e6], (n, 1))
    X = np.column_stack([Z, constants, Z[:, 0], 7.0 - 1e3 * Z[:, 1]])
    return X, Z @ [1.0, -2.0, 0.5] + rng.normal(scale=NOISE, size=n)


def hard(n=50_000, seed=0):
    """All of it at once: `wild_scales`, one 0/1 column with a single row, a constant and a copy."""
    rng = np.random.default_rng(seed + 1)
    X, y = wild_scales(n, seed=seed)
    rare = np.zeros(n)
    row = rng.integers(n)
    rare[row] = 1.0
    y[row] += 50.0
    return np.column_stack([X, rare, np.full(n, 1e6), X[:, 0]]), y


HARD = {"wild scales": wild_scales, "rare one-hot": rare_one_hot, "degenerate": degenerate, "hard": hard}
TINY_SHAPES = [(1, 1), (1, 5), (2, 1), (2, 5), (5, 5), (6, 5), (3, 40)]  # for `gaussian(n, d)`
