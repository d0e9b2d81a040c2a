"""The mark on a saved model: in which layout its state is, so that another release does not misread it."""

# Raise it with any change of the fitted state that this release's `partial_fit` could not go on from, and keep a model
# of the new format: `python tests/test_persistence.py`.
FORMAT = 1

MARK = "_saved_as"


def marked(state):
    """Return the state of an estimator with the format, and the release that wrote it."""
    from . import __version__

    return {**state, MARK: {"format": FORMAT, "version": __version__}}


def unmarked(state):
    """Return the state of an estimator without its mark.

    Raises
    ------
    ValueError
        If another release saved it, in a format that this one does not read.
    """
    from . import __version__

    mark = state.get(MARK, {"format": None, "version": "before 0.1.0"})
    if mark["format"] != FORMAT:
        raise ValueError(
            f"This GDLinearRegressor was saved in format {mark['format']} by sk_gdlinear {mark['version']}; "
            f"sk_gdlinear {__version__} reads format {FORMAT} only. Load it with sk_gdlinear {mark['version']}, or fit "
            "it again."
        )
    return {name: value for name, value in state.items() if name != MARK}
