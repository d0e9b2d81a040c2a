"""ONNX: after one call skl2onnx converts the estimator, and onnxruntime predicts what we predict."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import sk_gdlinear.onnx
from sk_gdlinear import GDLinearRegressor

RTOL = {np.float32: 1e-5, np.float64: 1e-12, np.int64: 1e-12}


@pytest.fixture
def runs():
    """Function of a model and rows: what onnxruntime makes of the converted model."""
    skl2onnx = pytest.importorskip("skl2onnx", reason="skl2onnx is not installed: no export to ONNX")
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: nothing runs ONNX")
    sk_gdlinear.onnx.register()

    def run(model, inputs, initial_types=None):
        converted = skl2onnx.to_onnx(model, None if initial_types else inputs["X"][:1], initial_types=initial_types)
        session = onnxruntime.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(None, inputs)[0]

    return run


def alone(model):
    return model


def in_pipeline(model):
    return make_pipeline(StandardScaler(), model)


def quick(**params):
    return GDLinearRegressor(max_iter=5, tol=None, random_state=0, **params)


@pytest.mark.parametrize("wrap", [alone, in_pipeline])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("targets", [(), (1,), (3,)], ids=str)
@pytest.mark.parametrize("dtype", RTOL, ids=lambda dtype: dtype.__name__)
def test_onnxruntime_predicts_what_we_predict(runs, rng, dtype, targets, fit_intercept, wrap):
    """Also float32 with large offsets, whose sums in float32 would lose most of the digits."""
    X = rng.normal([0.0, 10.0, 1e3, -1e4], [3.0, 5.0, 10.0, 20.0], size=(200, 4)).astype(dtype)
    Y = X @ rng.normal(size=(4, *targets)) + 7.0
    if dtype is np.int64 and wrap is in_pipeline:
        pytest.skip("skl2onnx's StandardScaler makes float32 of integers")
    model = wrap(quick(fit_intercept=fit_intercept)).fit(X, Y)
    want = model.predict(X)
    got = runs(model, {"X": X})
    assert got.dtype == want.dtype
    assert got.shape == (200, *targets) if targets else (200, 1)
    got = got.reshape(want.shape)
    assert_allclose(got, want, rtol=RTOL[dtype], atol=RTOL[dtype] * np.abs(want).max())


def test_onnx_of_a_pipeline_over_named_columns(runs, rng):
    frames = pytest.importorskip("pandas", reason="pandas is not installed: no frames")
    data_types = pytest.importorskip("skl2onnx.common.data_types")
    kind, size = rng.choice(["x", "y", "z"], size=200), rng.normal(1e4, 1e3, size=200)
    frame = frames.DataFrame({"kind": kind, "size": size})
    columns = ColumnTransformer(
        [("kind", OneHotEncoder(sparse_output=False), ["kind"]), ("size", "passthrough", ["size"])]
    )
    model = make_pipeline(columns, quick()).fit(frame, size / 1e3 + (kind == "x"))
    types = [("kind", data_types.StringTensorType([None, 1])), ("size", data_types.DoubleTensorType([None, 1]))]
    got = runs(model, {"kind": kind.astype(object)[:, None], "size": size[:, None]}, types)
    # skl2onnx joins the 0/1 columns, which are float32 there, with the float64 ones in float32.
    assert_allclose(got.ravel(), model.predict(frame), rtol=1e-5)


def test_without_skl2onnx_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'sk_gdlinear\[onnx\]'"):
        sk_gdlinear.onnx.register()


def test_models_that_are_not_fitted_say_so():
    skl2onnx = pytest.importorskip("skl2onnx", reason="skl2onnx is not installed: no export to ONNX")
    sk_gdlinear.onnx.register()
    with pytest.raises(NotFittedError):
        skl2onnx.to_onnx(GDLinearRegressor(), np.zeros((1, 2)))


class Subclass(GDLinearRegressor):
    """A class of the user's."""


def test_a_subclass_is_converted_once_it_is_registered(runs, rng):
    sk_gdlinear.onnx.register(Subclass)
    X = rng.normal(size=(50, 3))
    model = Subclass(random_state=0).fit(X, X @ [1.0, 2.0, 3.0])
    assert_allclose(runs(model, {"X": X})[:, 0], model.predict(X), rtol=1e-12)
