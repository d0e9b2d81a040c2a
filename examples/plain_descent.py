"""
Plain gradient descent
======================

The estimator makes the updates of the derivation and nothing else: beside it are the same lines in NumPy.

With `standardize=False`, `average=False` and a step of your own, nothing is added to the two lines of the update,

    W ← W − η Gᵀ X,  b ← b − η Σ G,  with G = (Ŷ − Y) / m.
"""

import matplotlib.pyplot as plt
import numpy as np

from sk_gdlinear import GDLinearRegressor

# %%
# One update by hand, one by the estimator, twelve times:

X = np.array([[1.0, 0.6], [-0.4, 1.2], [0.3, -0.9]])  # n = 3 rows, d = 2 features
y = np.array([2.0, -1.0, 1.5])
eta = 0.6

w, b = np.zeros(2), 0.0
model = GDLinearRegressor(
    standardize=False, average=False, learning_rate=eta, batch_size=None, max_iter=1, tol=None, warm_start=True
)
by_hand, fitted = [w.tolist()], [w.tolist()]
for step in range(1, 13):
    G = (X @ w + b - y) / len(y)  # the gradient of the loss by the predictions
    w, b = w - eta * G @ X, b - eta * G.sum()
    model.fit(X, y)
    by_hand.append(w.tolist())
    fitted.append(model.coef_.tolist())
    if step in (1, 2, 3, 12):
        apart = max(np.abs(w - model.coef_).max(), abs(b - model.intercept_))
        print(f"update {step:>2}: w = {np.round(w, 6)}, b = {b:.6f}, largest difference {apart:.0e}")

# %%
# The path over the loss, with the best intercept for every pair of coefficients:

grid = np.linspace(-2.4, 2.4, 200), np.linspace(-2.4, 1.2, 200)
W = np.stack(np.meshgrid(*grid), axis=-1)
E = W @ X.T - y
loss = 0.5 * E.var(axis=-1)
figure, ax = plt.subplots(figsize=(6.4, 4.8))
ax.contourf(*grid, loss, levels=20, cmap="Blues_r", alpha=0.6)
ax.plot(*np.transpose(by_hand), "-", color="C1", label="the derivation, in NumPy")
ax.plot(*np.transpose(fitted), "o", fillstyle="none", color="black", markersize=8, label="GDLinearRegressor")
ax.set(xlabel="first coefficient", ylabel="second coefficient", aspect="equal")
ax.grid(False)
ax.legend()
plt.show()
