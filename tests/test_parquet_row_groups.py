"""ParquetBatches: row groups of all sizes, read once and mixed."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.metrics import r2_score

from parquet_files import first_feature_of, pa, pq
from sk_gdlinear import GDLinearRegressor, ParquetBatches
from sk_gdlinear._parquet import reader


def test_an_epoch_opens_a_file_once_for_each_place_and_parses_no_footer(tmp_path, monkeypatch):
    """A footer lists all row groups, so parsing it for each of them would take quadratic time."""
    i = np.arange(20_000.0)
    pq.write_table(pa.table({"x": i, "y": i}), tmp_path / "0.parquet", row_group_size=20)
    batches = ParquetBatches(tmp_path, "y", interleave=16)
    footers = []

    class Counting(pq.ParquetFile):
        def __init__(self, *args, metadata=None, **options):
            footers.append(metadata)
            super().__init__(*args, metadata=metadata, **options)

    monkeypatch.setattr(pq, "ParquetFile", Counting)
    assert_array_equal(np.sort(first_feature_of(batches)), i)
    assert len(footers) == 16 and None not in footers


@pytest.fixture(params=["kept", "decoded again"])
def how_cut(request, monkeypatch):
    """Row groups that are cut are kept decoded, or decoded for each of their pieces."""
    if request.param == "decoded again":
        monkeypatch.setattr(reader, "KEPT_BYTES", 0)
    return request.param


@pytest.mark.parametrize("n_groups", [1, 3, 10])
def test_row_groups_that_are_cut_are_each_decoded_once_and_as_a_whole(tmp_path, monkeypatch, n_groups):
    """Sixteen places take rows from them; to decode them in pieces takes up to twice as long."""
    i = np.arange(20_000.0)
    pq.write_table(pa.table({"x": i, "y": i}), tmp_path / "0.parquet", row_group_size=20_000 // n_groups + 1)
    decoded = []

    class Counting(pq.ParquetFile):
        def read_row_group(self, group, *args, **options):
            decoded.append(group)
            return super().read_row_group(group, *args, **options)

        def iter_batches(self, *args, **options):
            raise AssertionError("decoded in pieces")

    monkeypatch.setattr(pq, "ParquetFile", Counting)
    assert_array_equal(np.sort(first_feature_of(ParquetBatches(tmp_path, "y", interleave=16))), i)
    assert sorted(decoded) == list(range(n_groups))


@pytest.mark.filterwarnings("ignore:The files have few row groups")
@pytest.mark.parametrize("batch_rows", [1000, 8192])
@pytest.mark.parametrize("row_groups", [[20_000], [19_000, 500, 500], [7_000] * 3])
def test_sorted_rows_mix_however_few_row_groups_hold_them(tmp_path, how_cut, batch_rows, row_groups):
    """Every chunk has rows from all sixteenths of the rows, and the model comes near the exact one."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(sum(row_groups), 5))
    y = X @ np.arange(1.0, 6.0) + rng.normal(size=len(X))
    order = np.argsort(y)
    X, y = X[order], y[order]
    table = pa.table({f"x{j}": X[:, j] for j in range(5)} | {"rank": np.arange(len(X)), "y": y})
    with pq.ParquetWriter(tmp_path / "0.parquet", table.schema) as writer:
        for n, end in zip(row_groups, np.cumsum(row_groups), strict=True):
            writer.write_table(table[end - n : end], row_group_size=n)
    ranks = ParquetBatches(tmp_path, "rank", columns=["x0"], batch_rows=batch_rows)
    for _, rank in ranks:
        held = np.histogram(rank, bins=8, range=(0, len(X)))[0]
        assert held.min() > len(rank) / 8 / 2.5
    assert_array_equal(np.sort(np.concatenate([rank for _, rank in ranks])), np.arange(len(X)))
    batches = ParquetBatches(tmp_path, "y", columns=[f"x{j}" for j in range(5)], batch_rows=batch_rows)
    model = GDLinearRegressor(random_state=0).fit_batches(batches, epochs=3)
    exact = GDLinearRegressor(random_state=0).fit(X, y).score(X, y)
    assert r2_score(y, X @ model.coef_ + model.intercept_) > exact - 0.01


def test_large_row_groups_that_take_several_times_as_long_are_warned_of(tmp_path, monkeypatch):
    i = np.arange(2000.0)
    pq.write_table(pa.table({"x": i, "y": i}), tmp_path / "0.parquet")
    ParquetBatches(tmp_path, "y")
    monkeypatch.setattr(reader, "KEPT_BYTES", 0)
    with pytest.warns(UserWarning, match=r"up to 2,000 rows.*decodes each row 8\.5 times.*row_group_size=100_000"):
        batches = ParquetBatches(tmp_path, "y")
    assert_array_equal(np.sort(first_feature_of(batches)), i)
    ParquetBatches(tmp_path, "y", interleave=2)
