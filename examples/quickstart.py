"""
Raw, mixed-scale data
=====================

Six columns whose spreads differ by a factor of 10¹⁰, used as they are.

The columns of this table are an age, an income, a time stamp, a drift in metres, a flag, and a flag that one row in
10,000 has.  We fit them with the default settings of four estimators, and compare R² and the time.
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
coef = np.array([3, 1e-3, 2e-6, 2e4, 10, 50])
y = X @ coef + rng.normal(0, 20, n)

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

# %%
# `SGDRegressor` diverges on raw columns, and says nothing.  `LinearRegression` of scikit-learn 1.9 drops columns whose
# scale is less than about 1e-6 of the largest, as if they were rounding errors; behind a `StandardScaler` it is exact.
# `GDLinearRegressor` standardizes inside and reports the coefficients in the units of the data:

print("true ", coef)
print("found", models["GDLinearRegressor"].coef_.round(8))
