"""The choice of the backend: the same answers without the compiled kernels, and a fit that a debugger can follow."""

import bdb
import inspect
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.sparse import csr_array

import sk_gdlinear
from sk_gdlinear import GDLinearRegressor
from sk_gdlinear._descent import epoch
from sk_gdlinear._descent.backend import DENSE, REFERENCE, SPARSE, choose_backend
from sk_gdlinear._objective import derivation

SCRIPT = """
import sys, warnings
sys.modules["sk_gdlinear._kernels.dense"] = None  # as if it had never been built
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from sk_gdlinear import GDLinearRegressor
    import numpy as np
    rng = np.random.default_rng(0)
    X = rng.normal([0, 1e3], [1e-3, 10], size=(500, 2))
    y = 1e3 * X[:, 0] + X[:, 1] + rng.normal(size=500)
    model = GDLinearRegressor(random_state=0).fit(X, y).partial_fit(X, y)
print(len(caught), caught[0].category.__name__, "pip install" in str(caught[0].message))
print(model.coef_.tolist() + [float(model.intercept_)])
"""


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = rng.normal([0, 1e3], [1e-3, 10], size=(500, 2))
    return X, 1e3 * X[:, 0] + X[:, 1] + rng.normal(size=500)


def test_missing_kernels_warn_once_and_give_the_same_answer(data):
    out = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout.splitlines()
    assert out[0] == "1 RuntimeWarning True"
    model = GDLinearRegressor(random_state=0).fit(*data).partial_fit(*data)
    assert_allclose(eval(out[1]), [*model.coef_, model.intercept_], rtol=1e-9)


@pytest.mark.parametrize("params", [{}, {"loss": "huber"}, {"penalty": "l1", "alpha": 0.1}], ids=str)
@pytest.mark.parametrize("sparse", [False, True])
def test_the_reference_gives_the_same_answer(data, params, sparse):
    X, y = data
    X = csr_array(X) if sparse else X
    with sk_gdlinear.backend("auto"):
        compiled = GDLinearRegressor(random_state=0, **params).fit(X, y)
    with sk_gdlinear.backend("reference"):
        reference = GDLinearRegressor(random_state=0, **params).fit(X, y)
    assert_allclose(compiled.coef_, reference.coef_, rtol=1e-8)
    assert_allclose(compiled.loss_curve_, reference.loss_curve_, rtol=1e-8)


@pytest.mark.parametrize("params", [{}, {"standardize": False, "average": False, "learning_rate": 1e-9}], ids=str)
def test_a_debugger_follows_a_fit_through_the_lines_of_the_derivation(data, params, monkeypatch):
    """Each function of the derivation is called for each batch of an epoch by the reference implementation."""
    lines = ("forward", "error", "output_gradient", "coef_gradient", "intercept_gradient")
    calls = dict.fromkeys(lines, 0)

    def counted(line, function):
        def call(*args):
            calls[line] += 1
            return function(*args)

        return call

    for line in lines:
        monkeypatch.setattr(epoch, line, counted(line, getattr(epoch, line)))
    with sk_gdlinear.backend("reference"):
        GDLinearRegressor(max_iter=1, tol=None, **params).fit(*data)
    assert set(calls.values()) >= {16}  # 500 rows in batches of 32
    assert min(calls.values()) == 16


class Debugger(bdb.Bdb):
    """Notes the lines at whose breakpoints it stops, and continues."""

    def __init__(self):
        super().__init__()
        self.stopped_at = set()

    def user_line(self, frame):
        self.stopped_at.add((self.canonic(frame.f_code.co_filename), frame.f_lineno))
        self.set_continue()


def line_of(source, code):
    """The file and the number of the one line of a module or function that contains ``code``."""
    lines, first = inspect.getsourcelines(source)
    (found,) = (number for number, line in enumerate(lines, max(first, 1)) if code in line)
    return inspect.getsourcefile(source), found


def test_breakpoints_on_the_lines_of_the_derivation_stop_a_fit(data):
    lines = [
        line_of(derivation.forward, "X @ W.T"),
        line_of(derivation.forward, "+= b"),
        line_of(derivation.error, "return prediction - Y"),
        line_of(derivation.output_gradient, "/ E.shape[0]"),
        line_of(derivation.coef_gradient, "return G.T @ X"),
        line_of(derivation.intercept_gradient, "return G.sum(axis=0)"),
        line_of(epoch.epoch, "point = W - step * grad_W"),
        line_of(epoch.epoch, "b -= step * grad_b"),
    ]
    debugger, tracer = Debugger(), sys.gettrace()
    for line in lines:
        assert debugger.set_break(*line) is None
    try:
        with sk_gdlinear.backend("reference"):
            debugger.runcall(GDLinearRegressor(max_iter=1, tol=None, random_state=0).fit, *data)
    finally:
        debugger.clear_all_breaks()
        sys.settrace(tracer)
    assert {(debugger.canonic(file), number) for file, number in lines} <= debugger.stopped_at


def test_the_choice_ends_with_its_block_and_its_name_is_checked(data):
    X, _ = data
    with sk_gdlinear.backend("auto"):
        with sk_gdlinear.backend("reference"):
            assert choose_backend(X) is choose_backend(csr_array(X)) is REFERENCE
        assert (choose_backend(X), choose_backend(csr_array(X))) == (DENSE, SPARSE)
    with pytest.raises(ValueError, match="one of .*'auto', 'reference'.*got 'fast'"), sk_gdlinear.backend("fast"):
        pass


@pytest.mark.parametrize(("name", "reference"), [("reference", True), ("auto", False)])
def test_the_environment_chooses_for_a_process(name, reference, monkeypatch):
    monkeypatch.setenv("SK_GDLINEAR_BACKEND", name)
    script = "import numpy as np, sk_gdlinear._descent.backend as b; print(b.choose_backend(np.eye(2)) is b.REFERENCE)"
    command = [sys.executable, "-W", "ignore", "-c", script]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert out.split() == [str(reference or DENSE is REFERENCE)]
