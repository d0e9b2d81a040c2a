"""The order of the gallery's examples, the look of their pictures, and descriptions for those who cannot see them."""

import re

# From the first steps to details; an example that is not named comes last.
ORDER = (
    "quickstart dataframe collinear_features watch_a_fit early_stopping choose_alpha regularization_path "
    "halving_search stream files sparse_text own_loss own_penalty cosine_schedule step_and_batch_size "
    "plain_descent"
).split()
STYLE = {
    "figure.figsize": (7.0, 4.2),
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "font.size": 10.5,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e7ea",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
}
COLOURS = ["#1f6f8b", "#d1603d", "#6a994e", "#8d6a9f", "#e0a030", "#555555"]


def reset_style(gallery_conf, file):
    """Set the style before an example runs."""
    import matplotlib
    from cycler import cycler

    matplotlib.rcParams.update(STYLE | {"axes.prop_cycle": cycler(color=COLOURS)})


def position(file):
    """Return where an example comes."""
    name = file.removesuffix(".py")
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)


# What the pictures of an example show, in order.
PICTURES = {
    "dataframe": [
        "Price against prediction for two models of diamonds. The linear one predicts negative prices for the "
        "cheapest and too little for the dearest; the one of logarithms and splines follows the diagonal.",
    ],
    "collinear_features": [
        "A long, narrow valley of the objective of two coefficients. Gradient descent zigzags across it and then "
        "moves slowly along its floor; one step with the second moments ends at the optimum.",
        "What is left to gain of R² by epoch on cubic polynomials. SGDRegressor and descent without second "
        "moments stay above 0.001 for 40 epochs; the default falls to 1e-16 in the fourth epoch.",
    ],
    "watch_a_fit": [
        "Bars of sixteen airlines, from Alaska Airlines, seven minutes earlier than average, to SkyWest, six "
        "minutes later.",
    ],
    "early_stopping": [
        "Left: training loss falls for 13 epochs, validation loss is lowest in epoch 11. Right: on test rows, "
        "predictions of the stopped model are close to the diagonal, those of exact least squares scatter widely.",
    ],
    "choose_alpha": [
        "Left: mean squared error on held-out rows by alpha, with a band of one standard error. Right: the "
        "coefficients of the lasso leave 0 one after the other as alpha falls. Lines mark the two choices.",
    ],
    "regularization_path": [
        "Coefficients along the strengths of the penalty, and below them the cross-validated R² with its spread.",
    ],
    "halving_search": [
        "Median absolute error on held-out rows of twenty candidates after 1 epoch, of seven after 3 and of three "
        "after 9, of which one is chosen.",
    ],
    "stream": [
        "R² below exact least squares by flights seen. SGDRegressor falls from 1 to 0.02; GDLinearRegressor "
        "starts at 0.01 and ends at 1e-9 with the last day.",
    ],
    "sparse_text": [
        "Bars of words. Great, love, best and delicious raise the prediction most; not, but, bad and disappointed "
        "lower it.",
    ],
    "own_loss": [
        "Electricity demand against temperature with two curves, both rising above 25 degrees; the one of the "
        "expectile loss runs above the one of the squared error.",
    ],
    "own_penalty": [
        "Four maps of coefficients by feature and level: the true effects, no penalty, l1, which keeps single "
        "levels of features that do not matter, and the group lasso, which drops these features.",
    ],
    "cosine_schedule": [
        "Left: the step by epoch for three schedules. Right: loss above the least; constant and invscaling steps "
        "level off, the cosine falls to 1e-4, the automatic step to 1e-14.",
    ],
    "step_and_batch_size": [
        "Loss by epoch in three panels: for step sizes, for batch sizes with the division by m, which all "
        "converge, and without it, where batches of 1,024 and 4,096 rows diverge.",
    ],
    "plain_descent": [
        "Contours of a loss of two coefficients, and a path of twelve updates towards its minimum, the same by "
        "NumPy and by the estimator.",
    ],
}


def describe_pictures(app, document):
    """Give the pictures on the pages of examples, and those that stand for an example, their descriptions."""
    from sphinx_gallery.directives import imgsgnode

    _, _, example = app.env.docname.rpartition("generated/gallery/")
    for picture, text in zip([*document.findall(imgsgnode)], PICTURES.get(example, []), strict=False):
        picture["alt"] = text


def describe_thumbnails(app, page, template, context, document):
    """Let the small pictures of lists have the summary of their example, which is their tooltip, as a text."""
    if "thumbcontainer" in context.get("body", ""):
        context["body"] = re.sub(r'tooltip="([^"]*)"><img alt=""', r'tooltip="\1"><img alt="\1"', context["body"])


def setup(app):
    """Register the hooks."""
    app.connect("doctree-read", describe_pictures)
    app.connect("html-page-context", describe_thumbnails)
    return {"parallel_read_safe": True}
