"""Without the compiled kernel the package imports, says so once, and gives the same answer."""

import subprocess
import sys

import numpy as np

SCRIPT = """
import sys, warnings
sys.modules["sk_gdlinear._kernel"] = None  # as if it had never been built
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from sk_gdlinear import GDLinearRegressor
    import numpy as np
    rng = np.random.default_rng(0)
    X = rng.normal([0, 1e3], [1e-3, 10], size=(500, 2))
    y = 1e3 * X[:, 0] + X[:, 1] + rng.normal(size=500)
    model = GDLinearRegressor(random_state=0).fit(X, y).partial_fit(X, y)
print(len(caught), caught[0].category.__name__, "pip install" in str(caught[0].message))
print(repr(model.coef_.tolist() + [model.intercept_]))
"""


def test_missing_kernel_warns_once_and_gives_the_same_answer():
    from sk_gdlinear import GDLinearRegressor

    out = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout.splitlines()
    assert out[0] == "1 RuntimeWarning True"
    rng = np.random.default_rng(0)
    X = rng.normal([0, 1e3], [1e-3, 10], size=(500, 2))
    y = 1e3 * X[:, 0] + X[:, 1] + rng.normal(size=500)
    model = GDLinearRegressor(random_state=0).fit(X, y).partial_fit(X, y)
    np.testing.assert_allclose(eval(out[1]), [*model.coef_, model.intercept_], rtol=1e-9)
