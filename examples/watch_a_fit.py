"""Watching a fit
==============

A progress bar and scores from scikit-learn's callbacks, a line per epoch, the curve as a picture.

Callbacks need scikit-learn 1.9; the progress bar needs rich: pip install '.[rich,plot]'.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.callback import ProgressBar, ScoringMonitor

from sk_gdlinear import GDLinearRegressor, LossCurveDisplay

rng = np.random.default_rng(0)
X = rng.normal(size=(20_000, 300)) @ rng.normal(size=(300, 300))  # many correlated features
y = X @ rng.normal(size=300) + rng.normal(0, 20, 20_000)

# Callbacks are set on the estimator; a ProgressBar set on a pipeline or a search shows the fits inside as well.
monitor = ScoringMonitor(scoring="r2")
model = GDLinearRegressor(early_stopping=True, random_state=0, verbose=1)
model.set_callbacks(ProgressBar(), monitor).fit(X, y)
print(f"stopped by {model.stop_reason_!r}; the best of {model.n_iter_} epochs was epoch {model.best_iter_}")

print("R2 on the training rows, epoch by epoch:")
print([round(float(row["r2"]), 6) for row in monitor.get_logs().data if row["task_name"] == "epoch"])

LossCurveDisplay.from_estimator(model)
plt.show()
