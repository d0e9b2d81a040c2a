"""A stream of raw chunks
======================

Each chunk is used once; the model is pickled on the way and continues from there.
"""

import pickle

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_gdlinear import GDLinearRegressor

rng = np.random.default_rng(0)
X = rng.normal([1e4, 0.0, -5.0], [1e2, 1e-4, 3.0], size=(50_000, 3))
y = X @ [0.05, 3e4, 1.0] + rng.normal(0, 2, 50_000)
exact = make_pipeline(StandardScaler(), LinearRegression()).fit(X, y).score(X, y)

model = GDLinearRegressor(random_state=0)
scores = []
for chunk in np.array_split(np.arange(50_000), 100):
    model.partial_fit(X[chunk], y[chunk])
    scores.append(model.score(X, y))
    if len(scores) == 50:
        model = pickle.loads(pickle.dumps(model))  # another process could continue from here
    if len(scores) in (1, 10, 50, 100):
        print(f"after {chunk[-1] + 1:>6} rows: R2 = {scores[-1]:.5f}")
print(f"exact least squares: R2 = {exact:.5f}")

plt.loglog(500 * np.arange(1, 101), exact - np.array(scores), ".-")
plt.xlabel("rows seen")
plt.ylabel("R² short of exact least squares")
plt.show()
