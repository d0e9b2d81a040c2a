"""Inputs are learnt from where they lie: no copy of an array, a memory map or a CSR matrix."""

import subprocess
import sys

import numpy as np
import pytest

SCRIPT = """
import resource, sys
import numpy as np
from sk_gdlinear import GDLinearRegressor

path, rows = sys.argv[1], int(sys.argv[2])
X, y = np.memmap(path, dtype=np.float64, mode="r", shape=(rows, 20)), np.arange(rows) % 7.0
GDLinearRegressor(max_iter=3, tol=None, random_state=0).fit(X[:1000], y[:1000])  # loads all code

held = int(next(line for line in open("/proc/self/status") if line.startswith("VmData")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (held + X.nbytes // 2, held + X.nbytes // 2))
try:
    np.array(X)
except MemoryError:
    print("a copy does not fit")
model = GDLinearRegressor(max_iter=3, tol=None, random_state=0).fit(X, y).partial_fit(X, y)
print(model.n_iter_, np.isfinite(model.predict(X)).all())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit on data memory is Linux's")
def test_memmap_larger_than_the_memory_allowed_trains_to_completion(tmp_path):
    rows = 300_000
    X = np.memmap(tmp_path / "X", dtype=np.float64, mode="w+", shape=(rows, 20))  # 48 MB
    X[:] = np.resize(np.random.default_rng(0).normal(size=997), (rows, 1)) + np.arange(20.0)
    X.flush()
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "X"), str(rows)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert out == ["a copy does not fit", "1 True"]
