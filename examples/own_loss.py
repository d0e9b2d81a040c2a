"""A loss of your own
==================

A forecast that is too low costs nine times as much as one that is too high: a loss with two methods and a number.

The squared error is charged 0.9 where the prediction is too low and 0.1 where it is too high.  That is the loss of
expectile regression, whose optimum SciPy finds as well, in scaled columns and with a gradient written by hand.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import minimize

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


rng = np.random.default_rng(0)
n = 5_000
temperature, price = rng.uniform(0, 35, n), rng.uniform(1e4, 5e4, n)  # raw: no scaling
X = np.column_stack([temperature, price])
demand = 200.0 + 8.0 * temperature - 2e-3 * price + (1.0 + 0.2 * temperature) * rng.gamma(2.0, 5.0, n)

cost = Expectile(0.9)
models = {
    "squared error": GDLinearRegressor(random_state=0).fit(X, demand),
    "expectile": GDLinearRegressor(loss=cost, tol=1e-10, random_state=0).fit(X, demand),
}

Z = np.column_stack([(X - X.mean(axis=0)) / X.std(axis=0), np.ones(n)])
exact = minimize(
    lambda w: (cost.value(Z @ w - demand).mean(), Z.T @ cost.derivative(Z @ w - demand) / n),
    np.zeros(3),
    jac=True,
    options={"gtol": 1e-9},
)

print(f"{'loss':<14} {'mean cost':>12} {'too low':>9}   coefficients and intercept")
for name, model in models.items():
    e = model.predict(X) - demand
    numbers = np.array2string(np.array([*model.coef_, model.intercept_]), precision=4)
    print(f"{name:<14} {cost.value(e).mean():>12.6f} {np.mean(e < 0):>9.1%}   {numbers}")
print(f"{'SciPy':<14} {exact.fun:>12.6f}")
assert np.isclose(models["expectile"].loss_curve_[-1], exact.fun, rtol=1e-8)

line = np.column_stack([np.linspace(0, 35, 2), np.full(2, price.mean())])
plt.plot(temperature, demand + 2e-3 * (price - price.mean()), ",", color="0.6")
for name, model in models.items():
    plt.plot(line[:, 0], model.predict(line), label=name)
plt.xlabel("temperature")
plt.ylabel("demand, at the mean price")
plt.legend()
plt.show()
