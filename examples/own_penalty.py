"""
A penalty of your own
=====================

The group lasso keeps or drops a categorical feature as a whole: all of its one-hot columns, or none.

A penalty has a value and a proximal step.  The descent runs in scaled variables, so in the units of the data each
coefficient has a step of its own; for a norm the proximal step then is the root of a function of one number.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import brentq
from sklearn.preprocessing import OneHotEncoder

from sk_gdlinear import GDLinearRegressor


class GroupLasso:
    """``alpha`` times the sum of the norms of groups of coefficients."""

    def __init__(self, alpha, groups):
        self.alpha, self.groups = alpha, groups

    def value(self, w):
        return self.alpha * sum(np.linalg.norm(w[members]) for members in self.groups)

    def proximal(self, w, step):
        # The minimum of sum((v - w)**2 / (2 * step)) + alpha * norm(v) is v = w * r / (r + step * alpha), r its norm.
        v = np.zeros_like(w)
        for members in self.groups:
            u, s = w[members], step[members] * self.alpha
            if np.linalg.norm(u / s) > 1.0:
                r = brentq(lambda r, u=u, s=s: np.linalg.norm(u / (r + s)) - 1.0, 0.0, np.linalg.norm(u))
                v[members] = u * r / (r + s)
        return v


# %%
# Ten categorical features of six levels each.  The first three matter, the fourth hardly, the others not at all.

rng = np.random.default_rng(0)
n, n_features, n_levels = 2_000, 10, 6
levels = rng.integers(n_levels, size=(n, n_features))
effects = rng.normal(size=(n_features, n_levels))
effects[4:] = 0.0
effects[3] *= 0.25
y = effects[np.arange(n_features), levels].sum(axis=1) + rng.normal(size=n)

X = OneHotEncoder().fit_transform(levels)  # sparse
groups = np.arange(n_features * n_levels).reshape(n_features, n_levels)
models = {
    "no penalty": GDLinearRegressor(tol=1e-6, random_state=0).fit(X, y),
    "l1": GDLinearRegressor(penalty="l1", alpha=0.01, tol=1e-6, random_state=0).fit(X, y),
    "group lasso": GDLinearRegressor(penalty=GroupLasso(0.035, groups), tol=1e-6, random_state=0).fit(X, y),
}

print(f"{'penalty':<12} {'R2':>6}   non-zero coefficients of each feature, of {n_levels}")
for name, model in models.items():
    print(f"{name:<12} {model.score(X, y):>6.3f}   {np.count_nonzero(model.coef_[groups], axis=1)}")
used = np.count_nonzero(models["group lasso"].coef_[groups], axis=1)
assert set(used[:4]) == {n_levels} and set(used[4:]) == {0}

# %%
# At the optimum the gradient of the loss has the norm `alpha` in groups that are used, and at most that elsewhere.

gradient = X.T @ (models["group lasso"].predict(X) - y) / n
print("norm of the gradient in each group, over alpha:")
print(np.round(np.linalg.norm(gradient[groups], axis=1) / 0.035, 3))

# %%
# Coefficients that are exactly zero are white.  "l1" keeps single levels of features that do not matter; the group
# lasso drops these features.

figure, axes = plt.subplots(1, 4, figsize=(10, 4.4), sharey=True)
truth = effects - effects.mean(axis=1, keepdims=True)
panels = {"true effects": truth} | {name: model.coef_[groups] for name, model in models.items()}
for ax, (name, values) in zip(axes, panels.items(), strict=True):
    picture = ax.imshow(np.ma.masked_equal(values, 0.0), vmin=-1.6, vmax=1.6, cmap="RdBu", aspect="auto")
    ax.set(title=name, xlabel="level", xticks=range(n_levels), yticks=range(n_features))
    ax.set_xticks(np.arange(-0.5, n_levels), minor=True)
    ax.set_yticks(np.arange(-0.5, n_features), minor=True)
    ax.grid(False)
    ax.grid(which="minor", color="0.85", linewidth=0.6)
    ax.tick_params(which="minor", length=0)
axes[0].set_ylabel("feature")
figure.colorbar(picture, ax=axes, label="coefficient")
plt.show()
