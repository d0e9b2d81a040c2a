"""
A schedule of your own
======================

A step that falls to 0 along a cosine, for plain gradient descent with a step of your own.

With a constant step the iterates of stochastic descent hover about the optimum.  A schedule is a function of the update
number that returns a factor of the step; if it has a parameter `n_updates`, `fit` passes its last update.  The
automatic step does without a schedule: it reduces the variance of the gradient instead.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LinearRegression

from sk_gdlinear import GDLinearRegressor


def cosine(t, n_updates):
    return 0.5 * (1.0 + np.cos(np.pi * t / n_updates))


# %%
# Four fits of 30 epochs on the same rows:

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
    "automatic step": GDLinearRegressor(precondition=False, max_iter=30, tol=None, random_state=0),
}

print(f"{'':<16} {'last step':>10} {'loss above the least':>22} {'largest error of coef_':>24}")
for name, model in models.items():
    model.fit(X, y)
    gap, error = model.loss_curve_[-1] - least, np.abs(model.coef_ - exact.coef_).max()
    print(f"{name:<16} {model.learning_rate_:>10.1e} {gap:>22.1e} {error:>24.1e}")
assert models["cosine"].loss_curve_[-1] - least < 0.05 * (models["constant"].loss_curve_[-1] - least)

# %%
# The step, and the loss above that of exact least squares.  The automatic step is shown without second moments
# (`precondition=False`), with which it would be at the optimum after two or three epochs.

epochs = np.arange(1, 31)
updates = epochs * 157
steps = {"constant": np.full(30, 0.1), "invscaling": 0.1 / updates**0.25, "cosine": 0.1 * cosine(updates, updates[-1])}
figure, axes = plt.subplots(1, 2, figsize=(10, 4.2))
for name, model in models.items():
    if name in steps:
        axes[0].plot(epochs, steps[name])
    axes[1].semilogy(epochs, np.maximum(np.array(model.loss_curve_) - least, 1e-14), ".-", label=name)
axes[0].set(xlabel="epoch", ylabel="step")
axes[1].set(xlabel="epoch", ylabel="loss above the least")
axes[1].legend(loc="lower left")
plt.show()
