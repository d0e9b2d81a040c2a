"""
The path of a penalty, and the choice on it
===========================================

Coefficients along the strengths of the lasso, and the score on held-out rows.

Two rules choose a strength: the best score, and the strongest penalty whose score is within one standard error of it.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LassoCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_gdlinear import GDLinearRegressorCV, RegularizationPathDisplay

X, y = load_diabetes(return_X_y=True, scaled=False)
X = StandardScaler().fit_transform(X)

for rule in ("best", "one_se"):
    model = make_pipeline(GDLinearRegressorCV(penalty="l1", scoring="r2", rule=rule)).fit(X, y)
    search = model[-1]
    n_used = np.count_nonzero(search.coef_)
    print(f"{rule:<7} alpha {search.alpha_:<6.3g} held-out R2 {search.best_score_:.3f}, {n_used} of 10 features")

# %%
# `LassoCV` chooses the same strength, and finds the same coefficients:

exact = LassoCV(tol=1e-8, max_iter=100_000).fit(X, y)
ours = GDLinearRegressorCV(penalty="l1").fit(X, y)
assert np.isclose(ours.alpha_, exact.alpha_) and np.allclose(ours.coef_, exact.coef_, atol=1e-3)

# %%
# One call draws the path and the scores:

RegularizationPathDisplay.from_estimator(model)
plt.show()
