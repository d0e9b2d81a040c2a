"""
Why the gradient is divided by the rows
=======================================

Step sizes and batch sizes of plain gradient descent compared.

The derivation has G = (prediction - y) / m.  With it, a step that suits batches of one size also suits larger batches.
Without it the gradient is m times as large, which is the same as a step m times as large.  The larger the batch, the
sooner that exceeds 2 / λ, the largest step at which descent on these data can be stable, with λ the largest eigenvalue
of the second moments.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.callback import ScoringMonitor

from sk_gdlinear import GDLinearRegressor, LossCurveDisplay

rng = np.random.default_rng(0)
n, d, n_epochs = 4096, 20, 15
X = rng.normal(size=(n, d)) * np.geomspace(0.3, 1.0, d)
y = X @ rng.normal(size=d) + 0.3 * rng.normal(size=n)
start = 0.5 * np.mean(y**2)  # the loss of all coefficients 0
largest_step = 2 / np.linalg.eigvalsh(X.T @ X / n)[-1]

# %%
# A fit that diverges raises an error.  A callback keeps the losses of its epochs, up to the one in which it fails.


def descend(learning_rate, batch_size):
    """Plain descent; return the loss after each epoch, up to the one in which it diverges, and whether it does."""
    monitor = ScoringMonitor(scoring="neg_mean_squared_error")  # remembers the epochs of a fit that fails, too
    model = GDLinearRegressor(
        standardize=False, average=False, learning_rate=learning_rate, batch_size=batch_size, fit_intercept=False,
        max_iter=n_epochs, tol=None, random_state=0,
    )  # fmt: skip
    diverged = False
    try:
        model.set_callbacks(monitor).fit(X, y)
    except ValueError as error:
        print(str(error).split(":")[0])
        diverged = True
    losses = [-row["neg_mean_squared_error"] / 2 for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    return losses, diverged


def compare(ax, title, runs, top):
    """Draw the curve of every run, ``{name: (learning_rate, batch_size)}``."""
    for name, (learning_rate, batch_size) in runs.items():
        losses, diverged = descend(learning_rate, batch_size)
        print(f"{title:<40} {name:<10} loss {losses[-1]:.4f} after {len(losses)} epochs")
        if diverged:  # on, up and off the picture
            losses, name = [*losses, 1e6 * start], f"{name}, diverges"
        LossCurveDisplay(loss_curve=losses, name=name).plot(ax, line_kw={"linestyle": ":"} if diverged else None)
    ax.set(title=title, yscale="log", ylim=(0.04, top * start), xlim=(0.5, n_epochs + 0.5))


# %%
# On the left the step varies: the smallest is slow, and the larger ones hover above the least loss.  In the middle one
# step serves batches of every size; larger ones make fewer updates per epoch, so they get less far.  On the right the
# same without the division: batches of 16 and 256 rows converge, larger ones diverge.

figure, axes = plt.subplots(1, 3, figsize=(12, 4.0), layout="constrained")
sizes, eta = [16, 256, 1024, 4096], 1.2 * largest_step / 1024
compare(axes[0], "step sizes, batches of 16", {f"η = {step}": (step, 16) for step in (0.001, 0.01, 0.1, 1.0)}, 1)
compare(axes[1], "batch sizes, with 1/m: η = 0.1", {f"m = {m}": (0.1, m) for m in sizes}, 1)
compare(axes[2], f"batch sizes, without 1/m: η = {eta:.2g}", {f"m = {m}": (eta * m, m) for m in sizes}, 1e3)
plt.show()
