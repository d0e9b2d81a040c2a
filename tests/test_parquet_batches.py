"""ParquetBatches: chunks of files larger than memory, mixed from many places."""

import os
import pickle
import subprocess
import sys
import textwrap
import weakref
from decimal import Decimal

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.metrics import r2_score

from parquet_files import first_feature_of, memory_filesystem, pa, pq
from sk_gdlinear import GDLinearRegressor, ParquetBatches
from sk_gdlinear._parquet.reader import Memory


@pytest.fixture
def folder(tmp_path):
    """Files of 700 and 300 rows in groups of 100; the row number in every column; one file in a sub-directory."""
    i = np.arange(1000.0)
    table = pa.table({"i": i, "square": i**2, "y": -i, "s": i + 1})
    (tmp_path / "sub").mkdir()
    pq.write_table(table[:700], tmp_path / "a.parquet", row_group_size=100)
    pq.write_table(table[700:], tmp_path / "sub" / "b.parquet", row_group_size=100)
    return tmp_path


@pytest.mark.parametrize("batch_rows", [1, 7, 64, 100, 350, 5000])
@pytest.mark.parametrize("interleave", [1, 3, 8, 99])
def test_an_epoch_visits_each_row_once_and_its_columns_stay_together(folder, batch_rows, interleave):
    batches = ParquetBatches(folder, "y", weight="s", batch_rows=batch_rows, interleave=interleave)
    chunks = list(batches)
    assert len(chunks) == len(batches) == -(-1000 // batch_rows)
    assert max(len(X) for X, _, _ in chunks) <= batch_rows + interleave
    X, y, s = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
    i = X[:, 0]
    assert_array_equal(np.sort(i), np.arange(1000))
    assert_array_equal(X, np.column_stack([i, i**2]))
    assert_array_equal(y, -i)
    assert_array_equal(s, i + 1)
    assert (batches.columns, batches.n_rows, batches.dtype) == (["i", "square"], 1000, np.float64)


def test_every_epoch_and_seed_has_an_order_of_its_own_the_same_in_every_run(folder):
    def order(epoch, seed):
        batches = ParquetBatches(folder, "y", batch_rows=50, interleave=3, random_state=seed)
        batches.set_epoch(epoch)
        return first_feature_of(batches)

    assert_array_equal(order(1, 2), order(1, 2))
    for other in (order(0, 2), order(2, 2), order(1, 3)):
        assert not np.array_equal(order(1, 2), other)


@pytest.mark.parametrize("interleave", [4, 7, 10, 16])
def test_every_chunk_takes_rows_from_as_many_places_as_asked_for(folder, interleave):
    """The last chunks too: ten row groups in, say, four places are read to their end at the same time."""
    for X, _ in ParquetBatches(folder, "y", batch_rows=50, interleave=interleave):
        assert len(np.unique(X[:, 0] // 100)) >= min(interleave, 10)


def test_columns_and_several_targets_are_chosen_by_name(folder):
    X, y = next(iter(ParquetBatches(folder, ["s", "y"], columns=["square"])))
    assert_array_equal(X[:, 0], y[:, 1] ** 2)
    assert_array_equal(y[:, 0], 1 - y[:, 1])


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_part_of_a_chunk_stays_as_it_was_while_later_ones_are_read(folder, part):
    batches = ParquetBatches(folder, "y", weight="s", batch_rows=50)
    held = [chunk[part][3:5] for chunk in batches]
    copied = [chunk[part][3:5].copy() for chunk in batches]
    assert_array_equal(np.concatenate(held), np.concatenate(copied))


def test_memory_is_used_again_once_no_array_lies_in_it():
    memory = Memory()
    array = memory.array((100, 3), np.dtype(float))
    part = array[5:7, ::2]
    del array
    assert memory.free == []
    del part
    (block,) = memory.free
    array = memory.array((90, 3), np.dtype(np.float32))
    assert memory.free == [] and np.shares_memory(array, block)
    del array
    array = memory.array((200, 3), np.dtype(float))  # too large for the block
    assert array.shape == (200, 3) and not np.shares_memory(array, block)


def test_a_chunk_that_is_kept_keeps_the_memory_of_no_other():
    memory = Memory()
    kept, other = (memory.array((10,), np.dtype(float)) for _ in range(2))
    del other
    freed = weakref.ref(memory.free[0])
    del memory
    assert freed() is None
    kept[:] = 1.0


def test_files_may_be_given_one_by_one(folder):
    files = [folder / "a.parquet", str(folder / "sub" / "b.parquet")]
    assert_array_equal(first_feature_of(ParquetBatches(files, "y")), first_feature_of(ParquetBatches(folder, "y")))


def test_files_of_other_file_systems_are_read_by_their_address(folder):
    memory = memory_filesystem()
    memory.put(str(folder), "/rows", recursive=True)
    try:
        for address in ("fsspec+memory:///rows", folder.as_uri()):
            assert_array_equal(
                first_feature_of(ParquetBatches(address, "y")), first_feature_of(ParquetBatches(folder, "y"))
            )
    finally:
        memory.rm("/rows", recursive=True)


def test_numbers_of_every_kind_become_floats_and_nulls_nan(tmp_path):
    table = pa.table(
        {
            "f": pa.array([0.5, None], pa.float32()),
            "i": pa.array([2**40, None], pa.int64()),
            "b": pa.array([True, None], pa.bool_()),
            "u": pa.array([2**63, None], pa.uint64()),
            "h": pa.array([np.float16(0.25), None], pa.float16()),
            "d": pa.array([Decimal("1.5"), None], pa.decimal128(4, 1)),
            "y": pa.array([1, 2], pa.int8()),
        }
    )
    pq.write_table(table, tmp_path / "mixed.parquet")
    ((X, y),) = ParquetBatches(tmp_path, "y")
    assert_array_equal(X, [[0.5, 2.0**40, 1.0, 2.0**63, 0.25, 1.5], [np.nan] * 6])
    assert_array_equal(y, [1.0, 2.0])
    with pytest.raises(ValueError, match="NaN"):
        GDLinearRegressor().fit_batches(ParquetBatches(tmp_path, "y"), epochs=1)


@pytest.mark.parametrize("version", ["17.0.0", "24.0.0"])
def test_columns_are_read_as_a_whole_where_pyarrow_cannot_do_it_in_pieces(folder, monkeypatch, version):
    sizes = set()

    class Watched(pq.ParquetFile):
        def __init__(self, *args, buffer_size, **options):
            sizes.add(buffer_size)
            super().__init__(*args, buffer_size=buffer_size, **options)

    batches = ParquetBatches(folder, "y")
    monkeypatch.setattr(pa, "__version__", version)
    monkeypatch.setattr(pq, "ParquetFile", Watched)
    assert len(first_feature_of(batches)) == 1000
    assert sizes == {0 if version == "17.0.0" else 1 << 13}


def test_float32_columns_stay_float32(tmp_path):
    table = pa.table({"x": pa.array([0.5, 1.5], pa.float32()), "y": [1.0, 2.0]})
    pq.write_table(table, tmp_path / "single.parquet")
    model = GDLinearRegressor().fit_batches(ParquetBatches(tmp_path, "y"), epochs=1)
    assert model.coef_.dtype == np.float32


def test_targets_and_weights_are_float64_also_beside_float32_columns(tmp_path):
    single = pa.array([0.5, 1.5], pa.float32())
    pq.write_table(pa.table({"x": single, "y": single, "s": single}), tmp_path / "single.parquet")
    ((X, y, s),) = ParquetBatches(tmp_path, "y", weight="s")
    assert (X.dtype, y.dtype, s.dtype) == (np.float32, np.float64, np.float64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(target="price"), r"no column \['price'\]"),
        (dict(target="y", columns=["i", "k"]), r"no column \['k'\]"),
        (dict(target="y", weight="w"), r"no column \['w'\]"),
        (dict(target="y", columns=[]), "no feature columns"),
        (dict(target=["y", "s", "i", "square"]), "no feature columns"),
        (dict(target=[]), r"target=\[\] names no column"),
        (dict(target="y", batch_rows=0), "batch_rows"),
        (dict(target="y", interleave=0), "interleave"),
        (dict(target="y", random_state=-1), "random_state"),
    ],
)
def test_unfit_arguments_are_named(folder, arguments, message):
    with pytest.raises(ValueError, match=message):
        ParquetBatches(folder, **arguments)


def test_columns_of_text_are_named(tmp_path):
    pq.write_table(pa.table({"x": [1.0], "colour": ["red"], "y": [1.0]}), tmp_path / "text.parquet")
    with pytest.raises(ValueError, match="numbers or booleans.*colour.*string"):
        ParquetBatches(tmp_path, "y")
    assert ParquetBatches(tmp_path, "y", columns=["x"]).columns == ["x"]


def test_files_without_rows_are_refused(tmp_path):
    pq.write_table(
        pa.table({"x": pa.array([], pa.float64()), "y": pa.array([], pa.float64())}), tmp_path / "no.parquet"
    )
    with pytest.raises(ValueError, match="no rows"):
        ParquetBatches(tmp_path, "y")


def test_without_pyarrow_the_error_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.dataset", None)
    with pytest.raises(ImportError, match=r"sk_gdlinear\[files\]"):
        ParquetBatches(folder, "y")


def test_the_object_can_be_pickled_and_read_by_two_at_once(folder):
    batches = ParquetBatches(folder, "y", batch_rows=64)
    rows = first_feature_of(batches)
    assert_array_equal(first_feature_of(pickle.loads(pickle.dumps(batches))), rows)
    pairs = list(zip(batches, batches, strict=True))
    for part in (0, 1):
        assert_array_equal(np.concatenate([pair[part][0][:, 0] for pair in pairs]), rows)


# --- larger than memory ----------------------------------------------------------------------------------------------

LIMITED = """
    import pickle, resource, sys, threading
    from pathlib import Path
    import numpy as np
    from sk_gdlinear import GDLinearRegressor, ParquetBatches

    folder, room = sys.argv[1], int(sys.argv[2])
    batches = ParquetBatches(folder, "y", batch_rows=16_384)
    threading.stack_size(1 << 20)
    np.ones((300, 300)).T @ np.ones((300, 300))  # linear algebra takes its buffer of 32 MB once, whatever the rows
    lines = Path("/proc/self/status").read_text().splitlines()
    held = next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmData:"))
    resource.setrlimit(resource.RLIMIT_DATA, (held + room, held + room))
    try:
        np.ones(batches.n_rows * (len(batches.columns) + 1))  # all rows at once
    except MemoryError:
        model = GDLinearRegressor(random_state=0).fit_batches(batches, epochs=2)
        sys.stdout.buffer.write(pickle.dumps(model))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit on memory is set as Linux knows it")
@pytest.mark.skipif(int(pa.__version__.split(".")[0]) < 24, reason="older ones hold compressed row groups as well")
@pytest.mark.parametrize("order", ["random", "by the target"])
def test_files_larger_than_memory_give_the_answer_of_fit(tmp_path, order):
    """A process that may not hold the rows comes within 0.002 R² of one that does, also on files sorted by y."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1_600_000, 8)) * np.geomspace(0.01, 100, 8) + 5.0
    y = X @ (rng.normal(size=8) / np.geomspace(0.01, 100, 8)) + rng.normal(scale=2.0, size=len(X))
    if order == "by the target":
        rank = np.argsort(y)
        X, y = X[rank], y[rank]
    for i, rows in enumerate(np.array_split(np.arange(len(X)), 4)):
        columns = {**{f"x{j}": X[rows, j] for j in range(8)}, "y": y[rows]}
        pq.write_table(pa.table(columns), tmp_path / f"{i}.parquet", row_group_size=10_000, use_dictionary=False)
    # 104 MB of 115: the process comes to need 94, however many rows there are.
    limit = sum(path.stat().st_size for path in tmp_path.iterdir()) * 9 // 10
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LIMITED), tmp_path, str(limit)],
        capture_output=True,
        timeout=120,
        # Arrow's other pools reserve a gigabyte at once; malloc and linear algebra would reserve some for every thread.
        env={**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr.decode()
    model = pickle.loads(done.stdout)
    in_memory = GDLinearRegressor(random_state=0).fit(X, y)
    assert r2_score(y, X @ model.coef_ + model.intercept_) >= in_memory.score(X, y) - 0.002
