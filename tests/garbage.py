"""Strategies for arrays and settings such as a careless or hostile caller may pass, and for good ones among them."""

import warnings

import numpy as np
from hypothesis import strategies as st
from scipy import sparse

DTYPES = [
    "f8", "f8", "f8", "f4", "f2", "g", ">f8", "i1", "u8", "i4", "?", "O", "c16", "U3", "S3", "M8[s]", "m8[s]", "V8",
]  # fmt: skip
SPECIAL = [np.nan, np.inf, -np.inf, 5e-324, -5e-324, 2.2e-308, 1e300, -1e300, 1e-300, 1.7e308, 1e38, 3.5e38, 0.0, -0.0]


def values(rng, shape, content):
    """Numbers of a kind."""
    A = rng.normal(size=shape)
    if content == "offset":
        return A + 1e6
    if content == "constant":
        return np.full(shape, float(rng.choice([0.0, 0.1, 1e6, 1e300])))
    if content == "integers":
        return np.round(3 * A)
    if content == "wide":
        return A * 10.0 ** rng.integers(-300, 300, size=shape)
    if content == "subnormal":
        return np.round(A * 10) * 5e-324
    if content == "huge":
        return A * 1e300
    if content == "special" and A.size:
        A.flat[rng.integers(A.size, size=max(1, A.size // 8))] = rng.choice(SPECIAL)
    return A


CONTENTS = ["normal", "normal", "normal", "offset", "constant", "integers", "wide", "subnormal", "huge", "special"]
LAYOUTS = ["C", "C", "F", "strided", "reversed", "read-only", "unaligned", "list", "masked", "matrix", "broadcast"]


def cast(A, dtype):
    """``A`` in another type; what has no such value becomes something else."""
    with np.errstate(all="ignore"):
        if dtype == "V8":
            return np.zeros(A.shape, dtype="V8")
        if dtype[0] in "iuMm?":
            A = np.clip(np.nan_to_num(A), -100, 100).astype("i8")
        return A.astype(dtype)


def arranged(A, layout):
    """``A`` in another layout or container."""
    if layout == "F":
        return np.asfortranarray(A)
    if layout == "strided":
        return np.repeat(A, 2, axis=0)[::2]
    if layout == "reversed":
        return np.ascontiguousarray(A[::-1])[::-1]
    if layout == "read-only":
        A = A.copy()
        A.setflags(write=False)
    if layout == "unaligned" and A.dtype.hasobject is False and A.size:
        buffer = np.frombuffer(b"x" + A.tobytes(), dtype=np.uint8)[1:]
        return buffer.view(A.dtype).reshape(A.shape)
    if layout == "list":
        return A.tolist()
    if layout == "masked":
        return np.ma.masked_array(A, mask=np.zeros(A.shape, dtype=bool))
    if layout == "matrix" and A.ndim == 2:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PendingDeprecationWarning)
            return np.asmatrix(A)
    if layout == "broadcast":
        return np.broadcast_to(A[:1], A.shape)
    return A


def broken(X, rng, how):
    """Sparse rows whose arrays do not make a matrix."""
    X = sparse.csr_array(X)
    data, indices, indptr = X.data.copy(), X.indices.copy(), X.indptr.copy()
    if how == "outside" and len(indices):
        indices[rng.integers(len(indices))] = X.shape[1] + rng.integers(1_000_000)
    elif how == "negative" and len(indices):
        indices[rng.integers(len(indices))] = -1 - rng.integers(1_000_000)
    elif how == "jumping" and len(indptr) > 2:
        indptr[rng.integers(1, len(indptr) - 1)] = rng.choice([-5, len(data) + 1_000])
    elif how == "long":
        indptr[-1] += 1_000
    elif how == "late":
        indptr += 1
    elif how == "unsorted":
        indices = indices[::-1].copy()
    elif how == "repeated":
        indices[:] = 0
    elif how == "short data":
        data = data[:-1]
    elif how == "int64":
        indices, indptr = indices.astype(np.int64), indptr.astype(np.int64)
    X.data, X.indices, X.indptr = data, indices, indptr
    return X


BREAKS = ["outside", "negative", "jumping", "long", "late", "unsorted", "repeated", "short data", "int64"]
FORMATS = ["csr", "csc", "coo", "lil", "bsr", "dok", "dia"]


@st.composite
def matrices(draw, n, d):
    """An X of about ``n`` rows and ``d`` columns."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    A = values(rng, (n, d), draw(st.sampled_from(CONTENTS)))
    kind = draw(st.sampled_from(["dense", "dense", "dense", "sparse", "broken", "frame", "odd"]))
    if kind == "dense":
        return arranged(cast(A, draw(st.sampled_from(DTYPES))), draw(st.sampled_from(LAYOUTS)))
    if kind in ("sparse", "broken"):
        A = np.where(rng.random(A.shape) < draw(st.sampled_from([0.0, 0.3, 1.0])), A, 0.0)
        A = cast(A, draw(st.sampled_from(["f8", "f8", "f4", "i8", "?"])))
        if kind == "broken":
            return broken(A, rng, draw(st.sampled_from(BREAKS)))
        return sparse.csr_array(A).asformat(draw(st.sampled_from(FORMATS)))
    if kind == "frame":
        return frame(A, draw(st.sampled_from(["numbers", "strings", "missing", "integers as names"])))
    return draw(st.sampled_from([None, "X", 3.0, A[:, :1].ravel(), A[None], [], [[]], object(), {"a": [1.0]}, A.T]))


def frame(A, kind):
    """A DataFrame, or what it would hold where pandas is missing."""
    try:
        from pandas import DataFrame
    except ImportError:
        return A
    X = DataFrame(A, columns=range(A.shape[1]) if kind == "integers as names" else [f"x{j}" for j in range(A.shape[1])])
    if kind in ("strings", "missing") and A.size:
        X = X.astype(object)
        X.iloc[0, 0] = "a" if kind == "strings" else None
    return X


@st.composite
def columns(draw, n, k=None):
    """A y, or weights, for about ``n`` rows."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n += draw(st.sampled_from([0, 0, 0, 0, 0, 0, 0, 1]))
    k = draw(st.sampled_from([None, None, 1, 2])) if k is None else k
    A = values(rng, n if k is None else (n, k), draw(st.sampled_from(CONTENTS)))
    kind = draw(st.sampled_from(["dense", "dense", "dense", "dense", "odd"]))
    if kind == "dense":
        return arranged(cast(A, draw(st.sampled_from(DTYPES))), draw(st.sampled_from(LAYOUTS)))
    return draw(
        st.sampled_from([None, "y", 1.0, A[..., None], [], object(), sparse.csr_array(np.ones((max(n, 1), 1)))])
    )


def weights(n):
    """Sample weights for ``n`` rows: mostly good."""
    rng = np.random.default_rng(n)
    good = [None, None, None, 1.0, 0.5, np.ones(n), rng.random(n), np.arange(n), np.full(n, 1e-300), np.full(n, 1e300)]
    bad = [0.0, np.zeros(n), -1.0, np.nan, np.full(n, np.nan), np.full(n, -1.0), np.ones(n + 1), np.ones((n, 2)), "w"]
    zero = [(np.arange(n) % 2).astype(float), np.where(np.arange(n) == 0, 1e300, 5e-324)]
    return st.one_of(st.sampled_from(good), st.sampled_from(good + zero), st.sampled_from(bad), columns(n))


SETTINGS = {
    "loss": ["huber", "quantile", "squared_error"],
    "epsilon": [1.35, 1e-300, 1e300],
    "quantile": [0.5, 0.01, 0.999],
    "penalty": ["l1", "l2", "elasticnet", None],
    "alpha": [0.0, 1e-4, 1.0, 1e300, 1e-300, [0.1, 0.2], [-1.0, 1.0], [[1.0]], "much", np.inf],
    "l1_ratio": [0, 0.5, 1.0],
    "fit_intercept": [False],
    "positive": [True],
    "batch_size": [1, 2, 3, None, 10**9, 2**70],
    "learning_rate": [0.1, 1e-3, 1e300, 5e-324, 1],
    "schedule": ["invscaling", "adaptive"],
    "power_t": [0.5, 0.0, 1e9],
    "standardize": [False],
    "average": [False],
    "max_iter": [1, 2, 7],
    "tol": [None, 0.0, 1e-10, 1e300],
    "n_iter_no_change": [1, 5],
    "shuffle": [False],
    "early_stopping": [True],
    "validation_fraction": [0.5, 0.999, 1e-9],
    "warm_start": [True],
    "random_state": [0, 2**32 - 1, np.random.RandomState(0)],
    "verbose": [0],
}
GARBAGE = [
    None,
    np.nan,
    -np.inf,
    -1,
    0,
    "x",
    b"x",
    [],
    (),
    {},
    1j,
    np.array([1.0, 2.0]),
    np.bool_(True),
    object,
    10**400,
]


@st.composite
def parameters(draw):
    """Settings, mostly good."""
    names = draw(st.lists(st.sampled_from(sorted(SETTINGS)), max_size=4, unique=True))
    chosen = {name: draw(st.sampled_from(SETTINGS[name])) for name in names}
    if draw(st.integers(0, 5)) == 0:
        chosen[draw(st.sampled_from(sorted(SETTINGS)))] = draw(st.sampled_from(GARBAGE))
    return chosen
