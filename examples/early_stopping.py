"""Early stopping in a pipeline
============================

With a given validation set, which the pipeline transforms as it transforms the training rows.

Polynomials of degree 3 of the diabetes data have 285 features for 265 training rows: exact least squares overfits, and
so does gradient descent when it runs to the end.  Stopped early it overfits less.
"""

import matplotlib.pyplot as plt
import sklearn
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from sk_gdlinear import GDLinearRegressor, LossCurveDisplay

X, y = load_diabetes(return_X_y=True)
X_rest, X_test, y_rest, y_test = train_test_split(X, y, test_size=0.2, random_state=0)
X_train, X_val, y_train, y_val = train_test_split(X_rest, y_rest, test_size=0.25, random_state=0)


def pipeline(regressor, **params):
    return make_pipeline(PolynomialFeatures(3, include_bias=False), StandardScaler(), regressor, **params)


with sklearn.config_context(enable_metadata_routing=True):  # X_val and y_val are passed to the step that requests them
    regressor = GDLinearRegressor(random_state=0).set_fit_request(X_val=True, y_val=True)
    stopped = pipeline(regressor, transform_input=["X_val"]).fit(X_train, y_train, X_val=X_val, y_val=y_val)
to_the_end = pipeline(GDLinearRegressor(max_iter=300, tol=None, random_state=0)).fit(X_train, y_train)
exact = pipeline(LinearRegression()).fit(X_train, y_train)

print(f"{'':<34} {'R2 training':>12} {'R2 test':>9}")
for name, model in {
    f"stopped, epoch {stopped[-1].best_iter_} of {stopped[-1].n_iter_} kept": stopped,
    f"{to_the_end[-1].n_iter_} epochs": to_the_end,
    "exact least squares": exact,
}.items():
    print(f"{name:<34} {model.score(X_train, y_train):>12.3f} {model.score(X_test, y_test):>9.3f}")

display = LossCurveDisplay.from_estimator(stopped[-1])
display.ax_.set_title("Polynomials of degree 3, diabetes data")
plt.show()
