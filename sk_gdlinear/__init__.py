"""Linear regression by mini-batch gradient descent, for scikit-learn."""

from . import losses, penalties
from ._descent.backend import backend
from .cv import GDLinearRegressorCV
from .display import LossCurveDisplay
from .estimator import GDLinearRegressor
from .parquet import ParquetBatches
from .path_display import RegularizationPathDisplay

__version__ = "0.1.0"

# The public name is the one pickles and skops files contain.
GDLinearRegressorCV.__module__ = RegularizationPathDisplay.__module__ = "sk_gdlinear"
GDLinearRegressor.__module__ = LossCurveDisplay.__module__ = ParquetBatches.__module__ = backend.__module__ = (
    "sk_gdlinear"
)

__all__ = [
    "GDLinearRegressor",
    "GDLinearRegressorCV",
    "LossCurveDisplay",
    "ParquetBatches",
    "RegularizationPathDisplay",
    "__version__",
    "backend",
    "losses",
    "penalties",
]
