"""Choosing a penalty's strength
=============================

By cross-validation, checked against scikit-learn's exact LassoCV and RidgeCV.

A penalty acts on the coefficients in the units of the data, so columns are put on one scale first, as for every
penalised model.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso, LassoCV, Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_gdlinear import GDLinearRegressor

warnings.simplefilter("error", ConvergenceWarning)
rng = np.random.default_rng(0)
n, d = 500, 30
X = rng.normal(size=(n, d)) * np.geomspace(1e-2, 1e2, d)
coef = np.where(np.arange(d) % 5, 0.0, 1.0) / np.geomspace(1e-2, 1e2, d)
y = X @ coef + 3.0 * rng.normal(size=n)

alphas, folds = np.geomspace(1e-3, 1.0, 13), KFold(5)
Z = StandardScaler().fit_transform(X)
n_train = n * 4 // 5
# Ridge's alpha weighs against a sum of squares, Lasso's and ours against a mean: the number of rows is between them.
lasso = LassoCV(alphas=alphas, cv=folds).fit(Z, y).alpha_
ridge = RidgeCV(alphas=alphas * n_train, cv=folds, scoring="neg_mean_squared_error").fit(Z, y).alpha_ / n_train
exact = {"l1": (lasso, Lasso(alpha=lasso)), "l2": (ridge, Ridge(alpha=ridge * n))}

print(f"{'penalty':<8} {'alpha':>8} {'exact':>8} {'R2':>8} {'exact':>8} {'non-zero':>9} {'exact':>6}")
for penalty, (best, reference) in exact.items():
    model = make_pipeline(StandardScaler(), GDLinearRegressor(penalty=penalty, random_state=0))
    grid = {"gdlinearregressor__alpha": alphas}
    search = GridSearchCV(model, grid, cv=folds, scoring="neg_mean_squared_error").fit(X, y)
    alpha, chosen = search.best_params_["gdlinearregressor__alpha"], search.best_estimator_
    reference.fit(Z, y)
    print(
        f"{penalty:<8} {alpha:>8.3g} {best:>8.3g} {chosen.score(X, y):>8.4f} {reference.score(Z, y):>8.4f} "
        f"{(chosen[-1].coef_ != 0).sum():>9} {(reference.coef_ != 0).sum():>6}"
    )
    assert np.isclose(alpha, best), "the exact solver chooses another alpha"
    errors = -search.cv_results_["mean_test_score"]
    plt.semilogx(alphas, errors, ".-", label=penalty)
    plt.plot(alpha, errors.min(), "ko", fillstyle="none", markersize=10)

plt.xlabel("alpha")
plt.ylabel("mean squared error, cross-validated")
plt.legend()
plt.show()
