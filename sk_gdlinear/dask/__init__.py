"""Linear regression by mini-batch gradient descent on a Dask cluster."""

from .estimator import DaskGDLinearRegressor

DaskGDLinearRegressor.__module__ = "sk_gdlinear.dask"  # the public name is the one that pickles contain

__all__ = ["DaskGDLinearRegressor"]
