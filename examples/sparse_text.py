"""Regression on text
==================

Counts of words in a sparse matrix, raw, never made dense; then a stream of it.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer
from sklearn.linear_model import Ridge, SGDRegressor
from sklearn.model_selection import train_test_split

from sk_gdlinear import GDLinearRegressor

rng = np.random.default_rng(0)
words = np.array([f"word{i}" for i in range(3_000)])
frequency = 1.0 / np.arange(1, len(words) + 1)  # as in languages: few words are common, most are rare
worth = rng.normal(size=len(words))
picks = [rng.choice(len(words), size=length, p=frequency / frequency.sum()) for length in rng.poisson(40, 20_000)]
texts = [" ".join(words[pick]) for pick in picks]
rating = np.array([worth[pick].sum() for pick in picks]) + rng.normal(0, 1, len(texts))
train_texts, test_texts, train, test = train_test_split(texts, rating, random_state=0)

counts = CountVectorizer().fit(train_texts)
X, X_test = counts.transform(train_texts), counts.transform(test_texts)
print(f"{X.shape[0]:,} texts x {X.shape[1]:,} features, {X.nnz / X.shape[0]:.0f} entries a row")
models = {
    "GDLinearRegressor": GDLinearRegressor(random_state=0),
    "Ridge": Ridge(),
    "SGDRegressor": SGDRegressor(random_state=0),
}
for name, model in models.items():
    model.fit(X, train)
    print(f"{name:<27} test R2 = {model.score(X_test, test):.4f}")

hashed = HashingVectorizer(n_features=2**16, norm=None)
model = GDLinearRegressor(random_state=0)
for chunk, target in zip(np.array_split(train_texts, 15), np.array_split(train, 15), strict=True):
    model.partial_fit(hashed.transform(chunk), target)  # hashing needs no vocabulary: the texts are seen once
print(f"{'the same, one pass of chunks':<27} test R2 = {model.score(hashed.transform(test_texts), test):.4f}")

true = [worth[int(name.removeprefix("word"))] for name in counts.get_feature_names_out()]
plt.scatter(true, models["GDLinearRegressor"].coef_, c=np.ravel(X.sum(axis=0)), norm="log", s=10)
plt.colorbar(label="times seen")
plt.xlabel("worth of a word")
plt.ylabel("coefficient")
plt.show()
