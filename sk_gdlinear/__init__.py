"""Linear regression by mini-batch gradient descent, for scikit-learn."""

from ._display import LossCurveDisplay
from ._parquet import ParquetBatches
from ._regressor import GDLinearRegressor

__version__ = "0.1.0"

# The public name is the one pickles and skops files hold.
GDLinearRegressor.__module__ = LossCurveDisplay.__module__ = ParquetBatches.__module__ = "sk_gdlinear"

__all__ = ["GDLinearRegressor", "LossCurveDisplay", "ParquetBatches", "__version__"]
