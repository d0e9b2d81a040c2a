"""
Successive halving over epochs
==============================

Candidates get a few epochs each, and the best third goes on with three times as many.

Here the candidates are bends of the Huber loss together with strengths of the penalty.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.metrics import make_scorer, median_absolute_error
from sklearn.model_selection import HalvingGridSearchCV

from sk_gdlinear import GDLinearRegressor

warnings.simplefilter("ignore", ConvergenceWarning)  # one epoch is too few for some candidates
rng = np.random.default_rng(0)
n, d = 2000, 20
X = rng.normal(size=(n, d))
coef = np.where(np.arange(d) < 5, 1.0, 0.0)
y = X @ coef + 0.5 * rng.standard_t(1.5, size=n)  # heavy tails: the squared error would follow them

# %%
# The resource that halving hands out is `max_iter`, the number of epochs: 1, 3 and 9.

grid = {"epsilon": [0.1, 0.5, 2.0, 10.0], "alpha": np.geomspace(1e-3, 1e-1, 5)}
search = HalvingGridSearchCV(
    GDLinearRegressor("huber", penalty="l1", tol=None, random_state=0),  # tol=None: so many epochs and no warning
    grid,
    resource="max_iter",
    min_resources=1,
    max_resources=9,
    scoring=make_scorer(median_absolute_error, greater_is_better=False),
    random_state=0,
).fit(X, y)

# %%
# Seven of the twenty candidates get to the second stage, three to the third:

print(f"candidates {search.n_candidates_}, epochs {search.n_resources_}")
print(f"chosen {search.best_params_}")
print(f"largest error of a coefficient {np.abs(search.best_estimator_.coef_ - coef).max():.3f}")
assert np.abs(search.best_estimator_.coef_ - coef).max() < 0.1

# %%
# Every line is a candidate, from its first epoch to the stage in which it was left out.  The chosen one is in colour;
# six whose error is above 0.55 after the first epoch are off the picture.

table = pd.DataFrame(search.cv_results_)
table["error"] = -table["mean_test_score"]
candidate = table[["param_epsilon", "param_alpha"]].apply(tuple, axis=1)
chosen = search.best_params_["epsilon"], search.best_params_["alpha"]
figure, ax = plt.subplots()
for name, stages in table.groupby(candidate):
    is_chosen = name == chosen
    colour, width, height = ("C1", 2.4, 3) if is_chosen else ("0.7", 1.1, 2)
    label = f"epsilon {name[0]}, alpha {name[1]:.3g}" if is_chosen else None
    ax.plot(stages["n_resources"], stages["error"], "o-", label=label, color=colour, linewidth=width, zorder=height)
ax.set(ylim=(0.455, 0.55), xscale="log", xlabel="epochs", ylabel="median absolute error on held-out rows")
ax.set_xticks(search.n_resources_, labels=map(str, search.n_resources_))
ax.minorticks_off()
ax.legend()
plt.show()
