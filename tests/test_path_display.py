"""RegularizationPathDisplay: the lines are the path, the marks the choice."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LassoCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_gdlinear import GDLinearRegressorCV, RegularizationPathDisplay, path_display


@pytest.fixture
def pyplot():
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed: no pictures")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


@pytest.fixture
def data(rng):
    X = rng.normal(size=(80, 12))
    return X, X @ np.r_[3.0, -2.0, 1.0, np.zeros(9)] + rng.normal(size=80)


@pytest.fixture
def model(data):
    return GDLinearRegressorCV(penalty="l1", n_alphas=20).fit(*data)


def test_the_lines_are_the_path_of_the_estimator(pyplot, model):
    display = RegularizationPathDisplay.from_estimator(model)
    assert len(display.lines_) == 12
    for line, coef in zip(display.lines_, model.coef_path_, strict=True):
        assert_array_equal(line.get_ydata(), coef)
        assert_array_equal(line.get_xdata(), model.alphas_)
    assert_array_equal(display.score_line_.get_ydata(), model.cv_results_["mean_test_score"])
    low, high = display.band_.get_paths()[0].get_extents().intervaly
    mean, spread = model.cv_results_["mean_test_score"], model.cv_results_["std_test_score"]
    assert (low, high) == pytest.approx(((mean - spread).min(), (mean + spread).max()))
    assert display.ax_[1].get_xlabel() == "alpha"
    assert display.ax_[1].get_ylabel() == "negative held-out loss"


def test_the_choice_is_marked_in_both_axes_and_the_strength_grows_to_the_left(pyplot, model):
    display = RegularizationPathDisplay.from_estimator(model)
    assert [line.get_xdata()[0] for line in display.choice_] == [model.alpha_] * 2
    (text,) = display.ax_[1].get_legend().get_texts()
    assert text.get_text() == f"alpha = {model.alpha_:.3g}"
    assert display.ax_[0].get_xlim() == pytest.approx((model.alphas_[0], model.alphas_[-1]))
    assert display.ax_[0].get_xscale() == "log"


def test_the_largest_coefficients_are_named_and_those_of_0_are_not(pyplot, model, monkeypatch):
    display = RegularizationPathDisplay.from_estimator(model)
    names = [text.get_text() for text in display.ax_[0].get_legend().get_texts()]
    assert names[:3] == ["x0", "x1", "x2"]
    assert {f"x{j}" for j in np.flatnonzero(model.coef_ == 0.0)}.isdisjoint(names)
    monkeypatch.setattr(path_display, "NAMED", 2)
    again = RegularizationPathDisplay.from_estimator(model)
    assert [text.get_text() for text in again.ax_[0].get_legend().get_texts()] == ["x0", "x1"]


def test_of_a_pipeline_the_last_step_is_shown_with_its_names(pyplot, data):
    frames = pytest.importorskip("pandas", reason="pandas is not installed: no names")
    X, y = data
    frame = frames.DataFrame(X, columns=[f"feature {j}" for j in range(12)])
    scaler = StandardScaler().set_output(transform="pandas")
    pipeline = make_pipeline(scaler, GDLinearRegressorCV(n_alphas=5, scoring="r2")).fit(frame, y)
    display = RegularizationPathDisplay.from_estimator(pipeline)
    assert display.ax_[0].get_legend().get_texts()[0].get_text() == "feature 0"
    assert display.ax_[1].get_ylabel() == "r2"


def test_of_several_shares_the_chosen_one_is_shown(pyplot, data):
    model = GDLinearRegressorCV(penalty="elasticnet", l1_ratio=[0.2, 1.0], n_alphas=6).fit(*data)
    display = RegularizationPathDisplay.from_estimator(model)
    place = [0.2, 1.0].index(model.l1_ratio_)
    assert_array_equal(display.score_line_.get_xdata(), model.alphas_[place])
    assert_array_equal(display.score_line_.get_ydata(), -model.mse_path_[place].mean(axis=1))


def test_every_target_has_its_lines(pyplot, data):
    X, y = data
    model = GDLinearRegressorCV(n_alphas=5).fit(X, np.c_[y, -2.0 * y])
    display = RegularizationPathDisplay.from_estimator(model)
    assert len(display.lines_) == 24
    assert display.ax_[0].get_legend().get_texts()[0].get_text() == "x0, target 1"


def test_axes_and_style_of_ones_own(pyplot, model):
    _, axes = pyplot.subplots(2)
    display = RegularizationPathDisplay.from_estimator(model, ax=axes, line_kw={"lw": 3})
    assert list(display.ax_) == list(axes)
    assert {line.get_linewidth() for line in display.lines_} == {3}
    alone = RegularizationPathDisplay.from_estimator(model, ax=pyplot.figure().subplots())
    assert alone.lines_ == [] and len(alone.ax_) == 1
    with pytest.raises(ValueError, match="one or two matplotlib axes, got 4"):
        display.plot(pyplot.subplots(2, 2)[1])


def test_a_path_with_0_has_a_linear_axis(pyplot, data):
    model = GDLinearRegressorCV([1.0, 0.0]).fit(*data)
    assert RegularizationPathDisplay.from_estimator(model).ax_[0].get_xscale() == "linear"


def test_without_coefficients_the_score_is_drawn_alone(pyplot):
    display = RegularizationPathDisplay(alphas=[2.0, 1.0], coefs=None, scores=[[1.0, 2.0], [2.0, 3.0]]).plot()
    assert len(display.ax_) == 1 and display.choice_ == []


def test_only_fitted_searches_are_shown(data):
    with pytest.raises(NotFittedError):
        RegularizationPathDisplay.from_estimator(GDLinearRegressorCV())
    with pytest.raises(ValueError, match="LassoCV has no cv_results_ along param_alpha. Pass a fitted GDLinear"):
        RegularizationPathDisplay.from_estimator(LassoCV(max_iter=10_000).fit(*data))


def test_where_matplotlib_is_missing_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"sk_gdlinear\[plot\]"):
        RegularizationPathDisplay(alphas=[1.0], coefs=None, scores=[[1.0]]).plot()
