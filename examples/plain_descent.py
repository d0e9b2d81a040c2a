"""Plain gradient descent
======================

The estimator makes the updates of the derivation and nothing else: beside it are the same lines in NumPy.
"""

import numpy as np

from sk_gdlinear import GDLinearRegressor

X = np.array([[1.0, 2.0, -1.0, 0.5], [0.0, 1.0, 3.0, -2.0]])  # n = 2 rows, d = 4 features
y = np.array([1.0, -2.0])
eta = 0.1

w, b = np.zeros(4), 0.0
model = GDLinearRegressor(
    standardize=False, average=False, learning_rate=eta, batch_size=None, max_iter=1, tol=None, warm_start=True
)
for step in range(1, 4):
    G = (X @ w + b - y) / len(y)  # the gradient with respect to the prediction
    w, b = w - eta * G @ X, b - eta * G.sum()
    model.fit(X, y)
    apart = max(np.abs(w - model.coef_).max(), abs(b - model.intercept_))
    print(f"update {step}: w = {np.round(w, 6)}, b = {b:.6f}, largest difference {apart:.0e}")
