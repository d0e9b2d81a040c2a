"""ParquetBatches: files that change while they are read, or between two epochs."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from parquet_files import ds, memory_filesystem, pa, pq
from sk_gdlinear import GDLinearRegressor, ParquetBatches


def write(path, n=10_000, scale=1.0, **options):
    x = np.random.default_rng(0).normal(size=n) * scale
    pq.write_table(pa.table({"x": x, "y": 3 * x}), path, **({"row_group_size": 1000} | options))


# A process that reads a file while it is changed in place: written in another, since it may be killed.
CHANGED_IN_PLACE = """
    import os, sys
    import numpy as np, pyarrow as pa, pyarrow.dataset as ds, pyarrow.fs, pyarrow.parquet as pq
    from sk_gdlinear import GDLinearRegressor, ParquetBatches

    path, how, mapped = sys.argv[1], sys.argv[2], sys.argv[3] == "mapped"
    files = ds.dataset(path, filesystem=pyarrow.fs.LocalFileSystem(use_mmap=True)) if mapped else path
    batches = ParquetBatches(files, "y", batch_rows=1000, interleave=4)

    def chunks():
        for i, chunk in enumerate(batches):
            yield chunk
            if i == 3:
                if how == "truncated":
                    os.truncate(path, 4096)
                elif how == "removed":
                    os.remove(path)
                else:
                    pq.write_table(pa.table({"x": np.ones(3000), "y": np.ones(3000)}), path)

    try:
        GDLinearRegressor().fit_batches(chunks, epochs=1)
    except ValueError as error:
        print(error)
"""


@pytest.mark.parametrize("mapped", ["mapped", "path"])
@pytest.mark.parametrize("how", ["truncated", "rewritten", "removed"])
def test_a_file_changed_in_place_while_it_is_read_is_an_error(tmp_path, how, mapped):
    x = np.random.default_rng(0).normal(size=(400_000, 4))
    table = pa.table({f"x{j}": x[:, j] for j in range(4)} | {"y": x.sum(1)})
    pq.write_table(table, tmp_path / "0.parquet", row_group_size=20_000, use_dictionary=False)
    command = [sys.executable, "-c", textwrap.dedent(CHANGED_IN_PLACE), tmp_path / "0.parquet", how, mapped]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "0.parquet' has changed since this ParquetBatches was made" in done.stdout


@pytest.mark.parametrize(
    "change",
    [
        lambda path: write(path, 5_000),
        lambda path: write(path, 20_000, row_group_size=2000),  # as many row groups
        lambda path: write(path, scale=2.0),  # other rows of the same number
        lambda path: pq.write_table(pa.table({"z": np.ones(10)}), path),
        lambda path: path.write_text("text"),
        os.remove,
    ],
    ids=["fewer rows", "more rows", "other rows", "other columns", "no Parquet", "gone"],
)
def test_a_file_replaced_between_epochs_is_an_error_that_names_it(tmp_path, change):
    write(tmp_path / "0.parquet")
    write(tmp_path / "1.parquet")
    batches = ParquetBatches(tmp_path, "y", batch_rows=1000)
    model = GDLinearRegressor().fit_batches(batches, epochs=1)
    before = model.coef_.copy()
    change(tmp_path / "1.parquet")
    with pytest.raises(ValueError, match=r"1\.parquet' has changed since this ParquetBatches was made"):
        model.set_params(warm_start=True).fit_batches(batches, epochs=1)
    assert_array_equal(model.coef_, before)


def test_a_file_of_the_same_size_and_time_is_known_by_its_footer(tmp_path):
    for name, scale in (("0.parquet", 1.0), ("other", 2.0)):
        write(tmp_path / name, scale=scale, use_dictionary=False, compression="none")
    batches = ParquetBatches(tmp_path / "0.parquet", "y")
    found = os.stat(tmp_path / "0.parquet")
    assert found.st_size == os.stat(tmp_path / "other").st_size
    os.utime(tmp_path / "other", ns=(found.st_atime_ns, found.st_mtime_ns))
    os.replace(tmp_path / "other", tmp_path / "0.parquet")
    with pytest.raises(ValueError, match="has changed"):
        list(batches)


def test_a_file_that_was_only_touched_or_written_again_is_the_same(tmp_path):
    write(tmp_path / "0.parquet")
    batches = ParquetBatches(tmp_path, "y")
    ((X, _),) = batches
    write(tmp_path / "0.parquet")
    os.utime(tmp_path / "0.parquet", ns=(0, 0))
    assert_array_equal(next(iter(batches))[0], X)


def test_a_file_elsewhere_that_is_replaced_is_an_error(tmp_path):
    memory = memory_filesystem()
    write(tmp_path / "0.parquet")
    memory.put(str(tmp_path / "0.parquet"), "/changed/0.parquet")
    try:
        batches = ParquetBatches("fsspec+memory:///changed", "y")
        assert len(list(batches)) == 1
        write(tmp_path / "0.parquet", 5_000)
        memory.put(str(tmp_path / "0.parquet"), "/changed/0.parquet")
        with pytest.raises(ValueError, match=r"0\.parquet' has changed"):
            list(batches)
    finally:
        memory.rm("/changed", recursive=True)


def test_a_dataset_of_another_format_that_is_replaced_is_an_error(tmp_path):
    (tmp_path / "0.csv").write_text("x,y\n1,2\n3,4\n")
    batches = ParquetBatches(ds.dataset(tmp_path, format="csv"), "y")
    assert batches.n_rows == 2
    (tmp_path / "0.csv").write_text("x,y\n1,2\n")
    with pytest.raises(ValueError, match=r"0\.csv' has changed"):
        list(batches)


def test_a_broken_page_is_an_error_that_names_the_file(tmp_path):
    write(tmp_path / "0.parquet")
    path = tmp_path / "0.parquet"
    content = bytearray(path.read_bytes())
    content[4:2000] = bytes(1996)
    path.write_bytes(content)  # the footer is whole
    with pytest.raises(OSError, match=r"0\.parquet' cannot be read"):
        list(ParquetBatches(path, "y"))


def test_files_that_come_later_are_not_read(tmp_path):
    write(tmp_path / "0.parquet")
    batches = ParquetBatches(tmp_path, "y")
    write(tmp_path / "1.parquet")
    assert sum(len(X) for X, _ in batches) == batches.n_rows == 10_000


# --- chunks without rows ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.asarray, list])
def test_a_chunk_without_rows_is_skipped(kind):
    X = np.random.default_rng(0).normal(size=(30, 2))
    chunks = [(X[part], X[part].sum(1)) for part in (slice(0, 10), slice(0, 0), slice(10, 30))]
    model = GDLinearRegressor(random_state=0).fit_batches([(kind(x), kind(y)) for x, y in chunks], epochs=2)
    full = GDLinearRegressor(random_state=0).fit_batches([chunks[0], chunks[2]], epochs=2)
    assert_array_equal(model.coef_, full.coef_)


def test_chunks_without_any_rows_are_refused():
    with pytest.raises(ValueError, match="no chunk with rows"):
        GDLinearRegressor().fit_batches([(np.empty((0, 2)), np.empty(0))], epochs=1)
    with pytest.raises(ValueError, match="inconsistent|minimum of 1"):
        GDLinearRegressor().fit_batches([(np.empty((0, 2)), np.ones(3))], epochs=1)


def test_training_goes_on_after_a_chunk_without_rows(tmp_path):
    X = np.random.default_rng(0).normal(size=(30, 2))
    chunks = [(X[:10], X[:10, 0]), (X[:0], X[:0, 0]), (X[10:], X[10:, 0])]

    def failing():
        yield from chunks[:2]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        GDLinearRegressor(random_state=0).fit_batches(failing, epochs=1, checkpoint=tmp_path / "c")
    model = GDLinearRegressor(random_state=0).fit_batches(chunks, epochs=1, checkpoint=tmp_path / "c")
    assert_array_equal(model.coef_, GDLinearRegressor(random_state=0).fit_batches(chunks, epochs=1).coef_)
