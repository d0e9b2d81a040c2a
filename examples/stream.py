"""Learn from a stream of raw chunks, each seen once, and go on after pickling in the middle."""

import pickle

import numpy as np
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_gdlinear import GDLinearRegressor

rng = np.random.default_rng(0)
X = rng.normal([1e4, 0.0, -5.0], [1e2, 1e-4, 3.0], size=(50_000, 3))
y = X @ [0.05, 3e4, 1.0] + rng.normal(0, 2, 50_000)

model = GDLinearRegressor(random_state=0)
for chunk, (rows, targets) in enumerate(zip(np.array_split(X, 100), np.array_split(y, 100), strict=True), start=1):
    model.partial_fit(rows, targets)
    if chunk == 50:
        model = pickle.loads(pickle.dumps(model))  # another process could go on from here
    if chunk in (1, 10, 50, 100):
        print(f"after {chunk * 500:>6} rows: R2 = {model.score(X, y):.5f}")
exact = make_pipeline(StandardScaler(), LinearRegression()).fit(X, y)
print(f"exact least squares: R2 = {exact.score(X, y):.5f}")
