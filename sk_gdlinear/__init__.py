"""Linear regression by mini-batch gradient descent, for scikit-learn."""

from . import losses, penalties
from ._descent.backend import backend
from .display import LossCurveDisplay
from .estimator import GDLinearRegressor
from .parquet import ParquetBatches

__version__ = "0.1.0"

# The public name is the one pickles and skops files contain.
GDLinearRegressor.__module__ = LossCurveDisplay.__module__ = ParquetBatches.__module__ = backend.__module__ = (
    "sk_gdlinear"
)

__all__ = ["GDLinearRegressor", "LossCurveDisplay", "ParquetBatches", "__version__", "backend", "losses", "penalties"]
