"""The peers of ``peers.py``: how each is handed the data, trained as a competent user would, and stopped to look.

``checkpoints`` is a generator: each time it is resumed it trains on to its next checkpoint and yields a function that
predicts the training rows.  What runs between two yields is timed; the function is called outside the timing.

- `SGDRegressor` goes on by ``partial_fit``, one epoch each, with its defaults; behind `StandardScaler` the scaling is
  timed with the first epoch.
- PyTorch: ``nn.Linear``, ``MSELoss``, ``optim.SGD``, float32 tensors of standardised features and target (timed with
  the first epoch), a new ``randperm`` every epoch, batches of 128 by indexing.
- Vowpal Wabbit reads a text file, features raw, zeros left out, target standardised; writing the file is not timed,
  parsing it is, in the first pass, which also writes the binary cache of the other passes.  It runs through its Python
  package, in this process, which spares it the start of one; its parser is a second thread.  Its predictions are
  not clipped (``--min_prediction``), so that it fits the same linear function as all others.
- river: ``StandardScaler | LinearRegression`` by ``learn_many`` on chunks of 128 rows of a pandas DataFrame.
- scikit-learn-intelex: its `LinearRegression` and `Ridge`, with ``n_jobs=1``; scikit-learn itself is not patched.

PyTorch, Vowpal Wabbit and river have a fixed learning rate, the best of ``rates``, found before and outside the timing.
Those who minimise the squared error with an "l1" penalty are in ``peer_lassos.py``.
"""

import importlib
import importlib.util
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LinearRegression, Ridge, SGDRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_gdlinear import GDLinearRegressor

BATCH_ROWS = 128
DISTRIBUTIONS = {"sklearnex": "scikit-learn-intelex"}  # module: its name for pip, where that is another
VW_CONSTANT = 11650396  # index of Vowpal Wabbit's intercept


class Peer(NamedTuple):
    """One way to fit a linear regression."""

    checkpoints: Callable  # (data, rate) -> generator, see above
    model: Callable | None = None  # () -> estimator with a fit of its own choice of epochs
    prepare: Callable = lambda X, y: (X, y)  # the data as this peer's users hold it
    restarts: bool = False  # every checkpoint is training from the start
    rates: tuple = (None,)  # learning rates to choose from
    package: str | None = None  # optional module it needs

    @property
    def distribution(self):
        """What pip calls the package."""
        return DISTRIBUTIONS.get(self.package, self.package)

    def why_not(self):
        """Why it cannot run here, as text; None if it can."""
        if self.package is None:
            return None
        if importlib.util.find_spec(self.package) is None:
            return f"not installed (pip install {self.distribution})"
        try:
            importlib.import_module(self.package)
        except Exception as error:  # for instance an instruction set that this processor lacks
            return f"installed, but not to be imported: {type(error).__name__}: {error}"
        return None


def epoch_counts():
    """1, 2, ..., 10, then each about a fifth more than the one before."""
    count = 1
    while True:
        yield count
        count += max(1, count // 5)


def ours(data, rate):
    """One fit for every number of epochs."""
    X, y = data
    for epochs in epoch_counts():
        model = GDLinearRegressor(max_iter=epochs, tol=None, random_state=0).fit(X, y)
        yield epochs, lambda m=model: m.predict(X)


def exactly(make):
    """The single checkpoint of a solver without epochs."""

    def checkpoints(data, rate):
        X, y = data
        model = make().fit(X, y)
        yield None, lambda: model.predict(X)

    return checkpoints


def sgd(data, rate, scale=False):
    """SGDRegressor by epochs, on raw or on standardised features."""
    X, y = data
    Z = StandardScaler().fit_transform(X) if scale else X
    model = SGDRegressor(random_state=0)
    for epoch in itertools.count(1):
        model.partial_fit(Z, y)
        yield epoch, lambda: model.predict(Z)


def scaled_sgd(data, rate):
    """SGDRegressor behind StandardScaler."""
    return sgd(data, rate, scale=True)


def pytorch(data, rate):
    """A plain training loop."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    X, y = data
    mean, std = y.mean(), y.std()
    Z = torch.from_numpy(StandardScaler().fit_transform(X).astype(np.float32))
    target = torch.from_numpy(((y - mean) / std).astype(np.float32)).unsqueeze(1)
    model = torch.nn.Linear(Z.shape[1], 1)
    loss = torch.nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)

    def predict():
        with torch.no_grad():
            return model(Z).squeeze(1).numpy().astype(np.float64) * std + mean

    for epoch in itertools.count(1):
        for rows in torch.randperm(len(Z)).split(BATCH_ROWS):
            optimizer.zero_grad()
            loss(model(Z[rows]), target[rows]).backward()
            optimizer.step()
        yield epoch, predict


class TextData(NamedTuple):
    """A data set as Vowpal Wabbit's users hold it, and its numbers, for predictions."""

    folder: tempfile.TemporaryDirectory
    X: np.ndarray
    mean: float  # of the target, before it was standardised
    std: float


def as_text(X, y, block=4096):
    """Write the data as Vowpal Wabbit's text: ``target | column:value ...``."""
    text = TextData(tempfile.TemporaryDirectory(), X, y.mean(), y.std())
    with (Path(text.folder.name) / "data.txt").open("w") as file:
        for start in range(0, len(X), block):
            targets = (y[start : start + block] - text.mean) / text.std
            for target, row in zip(targets.tolist(), X[start : start + block].tolist(), strict=True):
                features = "".join([f" {j}:{value:.7g}" for j, value in enumerate(row) if value])
                file.write(f"{target:.7g} |{features}\n")
    return text


def vowpal_wabbit(text, rate):
    """One whole run, from the text, for 1, 2, 4, ... passes."""
    from vowpalwabbit import Workspace

    source, cache = Path(text.folder.name) / "data.txt", Path(text.folder.name) / "cache"
    for passes in (2**k for k in itertools.count()):
        cache.unlink(missing_ok=True)
        options = f"--data {source} --cache_file {cache} --passes {passes} --holdout_off --quiet --learning_rate {rate}"
        workspace = Workspace(options + " --min_prediction=-100 --max_prediction=100")
        coef = np.array([workspace.get_weight(j) for j in range(text.X.shape[1])])
        intercept = workspace.get_weight(VW_CONSTANT)
        workspace.finish()
        yield passes, lambda coef=coef, b=intercept: (text.X @ coef + b) * text.std + text.mean


def as_frame(X, y):
    """The data as pandas objects, without a copy."""
    import pandas as pd

    return pd.DataFrame(X, columns=[f"x{j}" for j in range(X.shape[1])], copy=False), pd.Series(y)


def river(data, rate):
    """Standardise and regress, chunk by chunk."""
    from river import linear_model, optim, preprocessing

    X, y = data
    model = preprocessing.StandardScaler() | linear_model.LinearRegression(optim.SGD(rate), intercept_lr=rate)
    for epoch in itertools.count(1):
        for start in range(0, len(X), BATCH_ROWS):
            model.learn_many(X.iloc[start : start + BATCH_ROWS], y.iloc[start : start + BATCH_ROWS])
        yield epoch, lambda: model.predict_many(X).to_numpy()


def intelex(name):
    """Maker of an estimator of scikit-learn-intelex."""

    def make():
        linear_model = importlib.import_module("sklearnex.linear_model")
        return getattr(linear_model, name)(n_jobs=1)

    return make


def pipeline():
    """SGDRegressor as scikit-learn's guide says to use it."""
    return make_pipeline(StandardScaler(), SGDRegressor(random_state=0))


OURS, SCALED_SGD, EXACT, RIDGE = "GDLinearRegressor", "StandardScaler + SGDRegressor", "LinearRegression", "Ridge"
PEERS = {
    OURS: Peer(ours, lambda: GDLinearRegressor(random_state=0), restarts=True),
    EXACT: Peer(exactly(LinearRegression), LinearRegression),
    RIDGE: Peer(exactly(Ridge), Ridge),
    "Ridge, lsqr": Peer(exactly(lambda: Ridge(solver="lsqr")), lambda: Ridge(solver="lsqr")),
    "LinearRegression, intelex": Peer(
        exactly(intelex("LinearRegression")), intelex("LinearRegression"), package="sklearnex"
    ),
    "Ridge, intelex": Peer(exactly(intelex("Ridge")), intelex("Ridge"), package="sklearnex"),
    "SGDRegressor, raw": Peer(sgd),  # a default fit that diverges may take 1,000 epochs
    SCALED_SGD: Peer(scaled_sgd, pipeline),
    "PyTorch": Peer(pytorch, rates=(0.1, 0.03, 0.01, 0.003, 0.001), package="torch"),
    "Vowpal Wabbit": Peer(
        vowpal_wabbit, prepare=as_text, restarts=True, rates=(0.1, 0.5, 2.0, 8.0), package="vowpalwabbit"
    ),
    "river": Peer(river, prepare=as_frame, rates=(0.1, 0.03, 0.01, 0.003, 0.001), package="river"),
}
