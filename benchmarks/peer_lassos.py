"""The peers of ``peers.py`` that minimise the squared error with an "l1" penalty, trained to a given tolerance.

Everyone has the same objective, ``||y - X w - b||² / (2 n) + alpha ||w||₁``, and is otherwise at its defaults.  Each
checkpoint is a fit from the start with a smaller ``tol``, which everyone defines differently: compare the gaps.
celer and skglm get at most 1,000 epochs on a working set, as `Lasso` has by default; 50,000 of theirs can be hours.
"""

import importlib
from functools import partial

import numpy as np
from sklearn.linear_model import Lasso

from peer_models import OURS, Peer
from sk_gdlinear import GDLinearRegressor

ALPHA = 0.1  # the data is scaled so that all coefficients are zero from 1 on
TOLERANCES = np.geomspace(1e-1, 1e-10, 10)
MOST_EPOCHS = 1_000  # on a working set


def by_tolerance(make):
    """One fit for every tolerance."""

    def checkpoints(data, rate):
        X, y = data
        for tol in TOLERANCES:
            model = make(tol=float(tol)).fit(X, y)
            yield f"tol {tol:.0e}", lambda model=model: model

    return checkpoints


def from_package(package):
    """Maker of a package's ``Lasso``."""

    def make(**params):
        return importlib.import_module(package).Lasso(ALPHA, max_epochs=MOST_EPOCHS, **params)

    return make


def lasso_peer(make, package=None):
    """Peer that is trained to every tolerance, and by a default fit."""
    return Peer(by_tolerance(make), make, restarts=True, package=package)


LASSOS = {
    OURS: lasso_peer(partial(GDLinearRegressor, penalty="l1", alpha=ALPHA, random_state=0)),
    "Lasso": lasso_peer(partial(Lasso, ALPHA)),
    "Lasso, precompute=True": lasso_peer(partial(Lasso, ALPHA, precompute=True)),
    "Lasso, celer": lasso_peer(from_package("celer"), "celer"),
    "Lasso, skglm": lasso_peer(from_package("skglm"), "skglm"),
}
