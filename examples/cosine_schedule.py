"""A schedule of your own
======================

A step that falls to 0 along a cosine, for plain gradient descent with a step of your own.

With a constant step the iterates of stochastic descent hover about the optimum.  A schedule is a function of the update
number that returns a factor of the step; if it has a parameter `n_updates`, `fit` passes its last update.  The
automatic step does without: it reduces the variance instead.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LinearRegression

from sk_gdlinear import GDLinearRegressor


def cosine(t, n_updates):
    return 0.5 * (1.0 + np.cos(np.pi * t / n_updates))


rng = np.random.default_rng(0)
X = rng.normal(size=(5_000, 20))
y = X @ rng.normal(size=20) + 2.0 * rng.normal(size=5_000)
exact = LinearRegression().fit(X, y)
least = 0.5 * np.mean((exact.predict(X) - y) ** 2)

plain = GDLinearRegressor(standardize=False, average=False, learning_rate=0.1, max_iter=30, tol=None, random_state=0)
models = {
    "constant": plain,
    "invscaling": clone(plain).set_params(schedule="invscaling", power_t=0.25),
    "cosine": clone(plain).set_params(schedule=cosine),
    "automatic step": GDLinearRegressor(max_iter=30, tol=None, random_state=0),
}

print(f"{'':<16} {'last step':>10} {'loss above the least':>22} {'largest error of coef_':>24}")
for name, model in models.items():
    model.fit(X, y)
    gap = np.array(model.loss_curve_) - least
    error = np.abs(model.coef_ - exact.coef_).max()
    print(f"{name:<16} {model.learning_rate_:>10.1e} {gap[-1]:>22.1e} {error:>24.1e}")
    plt.semilogy(np.arange(1, 31), np.maximum(gap, 1e-13), ".-", label=name)
assert models["cosine"].loss_curve_[-1] - least < 0.05 * (models["constant"].loss_curve_[-1] - least)

plt.xlabel("epoch")
plt.ylabel("loss above that of exact least squares")
plt.legend()
plt.show()
