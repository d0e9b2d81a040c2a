"""What is shown of a fitted estimator: LossCurveDisplay, and the HTML representation."""

import html
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_gdlinear import GDLinearRegressor, LossCurveDisplay


@pytest.fixture
def pyplot():
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed: no pictures")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


@pytest.fixture
def data(rng):
    X = rng.normal(size=(80, 30))
    return X, X[:, 0] + rng.normal(size=80)


@pytest.fixture
def validated(data):
    return GDLinearRegressor(early_stopping=True, random_state=0).fit(*data)


def test_lines_are_the_curves_of_the_estimator(pyplot, validated):
    display = LossCurveDisplay.from_estimator(validated)
    training, validation = display.lines_
    assert_array_equal(training.get_xdata(), np.arange(1, validated.n_iter_ + 1))
    assert_array_equal(training.get_ydata(), validated.loss_curve_)
    assert_array_equal(validation.get_ydata(), validated.validation_loss_curve_)
    assert display.ax_.lines[:] == display.lines_
    assert display.figure_ is display.ax_.figure
    assert display.ax_.get_xlabel() == "epoch"
    assert display.ax_.get_ylabel() == "loss (squared units of y)"


def test_the_best_epoch_is_marked(pyplot, validated):
    _, validation = LossCurveDisplay.from_estimator(validated).lines_
    (marked,) = validation.get_markevery()
    assert validation.get_ydata()[marked] == min(validated.validation_loss_curve_)
    assert f"best epoch: {validated.best_iter_}" in validation.get_label()


def test_without_validation_there_is_one_line(pyplot, data):
    (line,) = LossCurveDisplay.from_estimator(GDLinearRegressor(random_state=0).fit(*data)).lines_
    assert line.get_label() == "training"


def test_the_unit_is_that_of_the_loss(pyplot, data):
    model = GDLinearRegressor("quantile", max_iter=3, tol=None).fit(*data)
    assert LossCurveDisplay.from_estimator(model).ax_.get_ylabel() == "loss (units of y)"


def test_the_axis_says_whether_epochs_or_calls_are_counted(pyplot, data):
    X, y = data
    chunks = [(X[:30], y[:30]), (X[30:60], y[30:60])]
    model = GDLinearRegressor("huber", tol=None, random_state=0)
    model.fit_batches(chunks, epochs=4, X_val=X[60:], y_val=y[60:])
    display = LossCurveDisplay.from_estimator(model)
    assert display.ax_.get_xlabel() == "epoch"
    training, validation = display.lines_
    assert_array_equal(training.get_xdata(), [1, 2, 3, 4])
    assert_array_equal(validation.get_ydata(), model.validation_loss_curve_)
    assert f"best epoch: {model.best_iter_}" in validation.get_label()
    model = GDLinearRegressor(random_state=0).partial_fit(*chunks[0]).partial_fit(*chunks[1])
    assert LossCurveDisplay.from_estimator(model).ax_.get_xlabel() == "call of partial_fit"


def test_several_estimators_share_an_axis(pyplot, data, validated):
    ax = pyplot.figure().subplots()
    first = LossCurveDisplay.from_estimator(validated, ax=ax, name="first")
    second = LossCurveDisplay.from_estimator(GDLinearRegressor(random_state=0).fit(*data), ax=ax, name="second")
    assert first.ax_ is second.ax_ is ax
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["first", "first, validation", "second"]
    colours = [line.get_color() for line in ax.lines]
    assert colours[0] == colours[1] != colours[2]


@pytest.mark.parametrize(
    ("losses", "scale"),
    [([100.0, 1.0], "log"), ([2.0, 1.0], "linear"), ([100.0, 0.0], "linear"), ([np.inf, 2.0, 1.0], "linear")],
)
def test_the_axis_is_logarithmic_where_losses_differ_tenfold(pyplot, losses, scale):
    assert LossCurveDisplay(loss_curve=losses).plot().ax_.get_yscale() == scale


def test_style_of_ones_own_wins(pyplot, validated):
    for line in LossCurveDisplay.from_estimator(validated, line_kw={"c": "red", "lw": 5}).lines_:
        assert (line.get_color(), line.get_linewidth()) == ("red", 5)
    with pytest.raises(TypeError, match="aliases"):
        LossCurveDisplay.from_estimator(validated, line_kw={"c": "red", "color": "blue"})


def test_a_display_can_be_drawn_again(pyplot, validated):
    display = LossCurveDisplay.from_estimator(validated, name="mine")
    before = display.ax_
    assert display.plot(name="other") is display
    assert display.ax_ is not before
    assert display.lines_[0].get_label() == "other"


def test_only_fitted_estimators_with_a_loss_curve_are_shown(data):
    with pytest.raises(NotFittedError):
        LossCurveDisplay.from_estimator(GDLinearRegressor())
    with pytest.raises(ValueError, match=r"LinearRegression has no loss_curve_\. .* a pipeline that ends in one"):
        LossCurveDisplay.from_estimator(LinearRegression().fit(*data))


def test_matplotlib_is_imported_by_plot_alone():
    script = (
        "import sys, sk_gdlinear; sk_gdlinear.LossCurveDisplay(loss_curve=[1.0]); print('matplotlib' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout == "False\n"


def test_where_matplotlib_is_missing_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"sk_gdlinear\[plot\]"):
        LossCurveDisplay(loss_curve=[1.0]).plot()


def test_a_pipeline_draws_the_curve_of_its_last_step(pyplot):
    X, y = np.arange(40.0).reshape(20, 2) ** 2, np.arange(20.0)
    pipeline = make_pipeline(StandardScaler(), GDLinearRegressor(random_state=0)).fit(X, y)
    display = LossCurveDisplay.from_estimator(pipeline)
    assert_array_equal(display.lines_[0].get_ydata(), pipeline[-1].loss_curve_)


# --- the HTML representation -----------------------------------------------------------------------------------------


def test_html_has_a_tooltip_for_all_that_is_documented(validated):
    pytest.importorskip("sklearn", minversion="1.9", reason="this scikit-learn shows no table of fitted attributes")
    documented = re.findall(r"^    (\w+) : ", GDLinearRegressor.__doc__, re.MULTILINE)
    shown = html.unescape(validated._repr_html_())
    for name in documented:
        if hasattr(validated, name):
            tooltip = shown.split(f'style="position-anchor: --doc-link-{name};">', 1)[1]
            assert tooltip.lstrip().startswith(f"{name}: ")
    assert {"batch_size", "early_stopping", "coef_", "best_iter_"} <= set(documented)


def test_html_links_to_the_source_of_the_class_and_names_no_path_of_this_machine(validated):
    link = urlsplit(validated._get_doc_link())
    assert (link.scheme, link.path.split("/")[-1]) == ("https", "estimator.py")
    assert "file://" not in validated._repr_html_() and str(Path.home()) not in validated._repr_html_()
