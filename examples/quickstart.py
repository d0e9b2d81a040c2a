"""Raw, mixed-scale data
=====================

The defaults beside scikit-learn's regressors.

LinearRegression is exact behind a StandardScaler.  Where the scales of columns differ by more than 1e6, that of
scikit-learn 1.9 drops the small ones as rounding.  SGDRegressor diverges without a warning.
"""

import time

import numpy as np
from sklearn.linear_model import LinearRegression, SGDRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_gdlinear import GDLinearRegressor

rng = np.random.default_rng(0)
n = 200_000
X = np.column_stack(
    [
        rng.normal(40, 12, n),  # age, years
        rng.lognormal(10, 1, n),  # income, euros
        rng.normal(1.7e9, 1e7, n),  # time, seconds since 1970
        rng.normal(0, 1e-3, n),  # drift, metres
        rng.integers(0, 2, n),  # a flag
        rng.random(n) < 1e-4,  # a rare flag
    ]
)
y = 3 * X[:, 0] + 1e-3 * X[:, 1] + 2e-6 * X[:, 2] + 2e4 * X[:, 3] + 10 * X[:, 4] + 50 * X[:, 5] + rng.normal(0, 20, n)

models = {
    "GDLinearRegressor": GDLinearRegressor(random_state=0),
    "LinearRegression": LinearRegression(),
    "LinearRegression, scaled": make_pipeline(StandardScaler(), LinearRegression()),
    "SGDRegressor": SGDRegressor(max_iter=5, tol=None, random_state=0),
}
print(f"{'model':<26} {'R2':>12} {'ms':>8}")
for name, model in models.items():
    began = time.perf_counter()
    model.fit(X, y)
    seconds = time.perf_counter() - began
    print(f"{name:<26} {model.score(X, y):>12.5g} {1e3 * seconds:>8.1f}")
