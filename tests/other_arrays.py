"""What the tests of arrays of other libraries share: the libraries, rows to fit, and the comparison of two models."""

import os
from importlib.util import find_spec

import numpy as np
import pytest
from numpy.testing import assert_allclose

from own_objects import AbsoluteValues, LogCosh
from sk_gdlinear.losses import Huber
from sk_gdlinear.penalties import Box

# SciPy reads it once, when it is imported; without it scikit-learn refuses to dispatch.
needs_dispatch = pytest.mark.skipif(
    os.environ.get("SCIPY_ARRAY_API") != "1", reason="scikit-learn dispatches arrays only with SCIPY_ARRAY_API=1"
)


def gpu_kinds():
    """The kinds of arrays on a GPU, where there is one."""
    if os.environ.get("SCIPY_ARRAY_API") != "1" or find_spec("torch") is None:
        return []
    from torch import cuda

    names = ["cuda", *(["cupy"] if find_spec("cupy") else [])] if cuda.is_available() else []
    return [f"{name} {dtype}" for name in names for dtype in ("float64", "float32")]


# A library and its dtype, or a device whose arrays are of float32; on "no_float64" there are no others.
KINDS = ["torch float64", "torch float32", "strict float64", "strict device1", "strict no_float64", *gpu_kinds()]
DOUBLE = [kind for kind in KINDS if kind.endswith(" float64")]

# Parameters of fits by Newton steps, and of fits by mini-batch epochs.
LOSSES_AND_PENALTIES = [
    {},
    {"fit_intercept": False},
    {"loss": "huber"},
    {"loss": "quantile", "quantile": 0.8},
    {"penalty": "l2", "alpha": 0.1},
    {"penalty": "l1", "alpha": 0.1},
    {"penalty": "elasticnet", "loss": "huber"},
    {"positive": True},
    {"penalty": Box(-0.5, 0.5)},
    {"loss": Huber(0.5)},
    {"loss": LogCosh()},
    {"penalty": AbsoluteValues()},
]
EPOCHS = [
    {},
    {"loss": "huber", "penalty": "l1"},
    {"loss": "quantile"},
    {"positive": True},
    {"batch_size": 7, "average": False},
    {"batch_size": None},
    {"shuffle": False},
    {"fit_intercept": False},
    {"standardize": False, "learning_rate": 1e-6},
    {"learning_rate": 1e-3, "schedule": "invscaling"},
    {"early_stopping": True},
    {"loss": LogCosh(), "penalty": AbsoluteValues()},
]


class Library:
    """A namespace, a device and a dtype, as a test names them."""

    def __init__(self, kind):
        name, what = kind.split()
        module = {"strict": "array_api_strict", "cuda": "torch"}.get(name, name)
        self.xp = pytest.importorskip(module, reason=f"{module} is not installed: no arrays of it")
        self.dtype = "float64" if what == "float64" else "float32"
        self.where = {} if name == "cupy" else {"device": "cpu" if name == "torch" else name}
        if name == "strict":
            self.where = {"device": self.xp.Device("CPU_DEVICE" if "float" in what[:5] else what)}
        self.has_double = what != "no_float64"
        self.tolerance = 1e-10 if self.dtype == "float64" else 1e-4

    def __call__(self, values):
        return self.xp.asarray(np.array(values, dtype=self.dtype), **self.where)

    def owns(self, array):
        return type(array) is type(self.xp.empty(0)) and array.device == self(0.0).device


def to_numpy(array):
    """The array in NumPy, from wherever it is."""
    if hasattr(array, "__cuda_array_interface__"):
        return array.get() if hasattr(array, "get") else array.cpu().numpy()
    if hasattr(array, "to_device") and not hasattr(array, "numpy"):
        array = array.to_device(array.__array_namespace__().Device("CPU_DEVICE"))
    return np.asarray(array)


def problem_data(n=700, d=6, k=2):
    """Rows with offsets and other scales, nearly collinear columns, a constant one, outliers, and weights, some 0."""
    rng = np.random.default_rng(3)
    X = (rng.normal(size=(n, d)) + np.linspace(-3, 3, d)) * np.logspace(-2, 2, d)
    X[:, 1] = X[:, 0] + 1e-2 * X[:, 1]
    X[:, 2] = 7.0
    Y = np.stack([X @ rng.normal(size=d) + rng.standard_t(3, size=n) for _ in range(k)], axis=1)
    weight = rng.random(n)
    weight[:20] = 0.0
    return X, Y, weight


def assert_same_model(model, expected, X, tolerance, same_epochs=True):
    """Predictions agree relative to their spread, and so does the whole curve of objectives, or its end."""
    coef, intercept = to_numpy(model.coef_).astype(float), to_numpy(model.intercept_).astype(float)
    prediction = X @ expected.coef_.T.astype(float) + expected.intercept_
    error = X @ coef.T + intercept - prediction
    assert np.abs(error).max() <= tolerance * np.ptp(prediction)
    assert_allclose(model.loss_curve_[-1], expected.loss_curve_[-1], rtol=10 * tolerance)
    if not same_epochs:
        return
    assert_allclose(model.loss_curve_, expected.loss_curve_, rtol=10 * tolerance)
    assert (model.t_, model.n_iter_, model.stop_reason_) == (expected.t_, expected.n_iter_, expected.stop_reason_)
