"""ParquetBatches: which columns of which files it reads, and what it says of unfit ones."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from parquet_files import ds, first_feature_of, frame, pa, pq, rows_of
from sk_gdlinear import GDLinearRegressor, ParquetBatches

pd = pytest.importorskip("pandas", reason="the frames are pandas'")


def write(path, **columns):
    pq.write_table(pa.table(columns), path)


# --- a stored index is no feature ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "index",
    [
        pd.Index([7, 5] * 20),
        pd.date_range("2024-01-01", periods=40, name="day"),
        pd.Index([f"row {i}" for i in range(40)], name="id"),
        pd.MultiIndex.from_product([range(4), range(10)], names=["a", None]),
    ],
    ids=["numbers", "dates", "strings", "two levels"],
)
def test_an_index_that_pandas_stores_is_left_out(tmp_path, index):
    frame().set_index(index).to_parquet(tmp_path / "0.parquet")
    assert len(pq.read_schema(tmp_path / "0.parquet").names) > 3
    batches = ParquetBatches(tmp_path, "y")
    assert batches.columns == ["x", "z"]
    rows = rows_of(batches)
    assert_array_equal(rows[np.argsort(rows[:, 0])], frame().to_numpy())


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # of dask's own
def test_an_index_that_dask_stores_is_left_out(tmp_path):
    dd = pytest.importorskip("dask.dataframe")
    dd.from_pandas(frame(), npartitions=4).to_parquet(tmp_path)
    batches = ParquetBatches(tmp_path, "y")
    assert (batches.columns, batches.n_rows) == (["x", "z"], 40)


def test_an_index_is_known_by_its_name_where_pandas_words_are_lost(tmp_path):
    write(tmp_path / "0.parquet", x=[1.0], __index_level_0__=[7], __null_dask_index__=[7], y=[1.0])
    assert ParquetBatches(tmp_path, "y").columns == ["x"]


def test_an_index_asked_for_by_name_is_a_feature(tmp_path):
    frame().set_index(pd.Index([*range(101, 140), 100], name="id")).to_parquet(tmp_path / "0.parquet")
    batches = ParquetBatches(tmp_path, "y", columns=["id", "x"])
    rows = rows_of(batches)
    assert_array_equal(rows[:, 0], 100 + (rows[:, 1] + 1) % 40)


# --- partition columns and datasets ----------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [[2020, 2021], [0.5, 1.5], [None, -3]])
def test_numbers_in_the_names_of_folders_are_a_feature(tmp_path, values):
    data = frame().assign(year=[values[i % 2] for i in range(40)])
    data.to_parquet(tmp_path / "hive", partition_cols=["year"])
    batches = ParquetBatches(tmp_path / "hive", "y")
    assert batches.columns == ["x", "z", "year"]
    rows = rows_of(batches)
    assert_array_equal(rows[np.argsort(rows[:, 0])][:, 2], data["year"].to_numpy(float))
    ((_, year),) = ParquetBatches(tmp_path / "hive", "year", columns=["x"])
    assert_array_equal(np.sort(year), np.sort(data["year"].to_numpy(float)))
    files = sorted((tmp_path / "hive").rglob("*.parquet"))
    assert ParquetBatches(files, "y").columns == ["x", "z", "year"]


def test_features_may_all_come_from_the_names_of_folders(tmp_path):
    frame().to_parquet(tmp_path / "hive", partition_cols=["z", "y"])
    ((X, y),) = ParquetBatches(tmp_path / "hive", "y", columns=["z"])
    assert_array_equal(X[:, 0], (y - 1) / 3 % 7)


def test_words_in_the_names_of_folders_are_refused_unless_left_out(tmp_path):
    frame().assign(city=["Ulm", "7"] * 20).to_parquet(tmp_path / "hive", partition_cols=["city"])
    with pytest.raises(ValueError, match=r"numbers or booleans.*'city': 'string'"):
        ParquetBatches(tmp_path / "hive", "y")
    assert ParquetBatches(tmp_path / "hive", "y", columns=["x"]).n_rows == 40


def test_a_column_in_the_file_counts_for_more_than_the_name_of_its_folder(tmp_path):
    (tmp_path / "x=9").mkdir()
    frame().to_parquet(tmp_path / "x=9" / "0.parquet")
    batches = ParquetBatches(tmp_path, "y")
    assert batches.columns == ["x", "z"]
    assert_array_equal(np.sort(rows_of(batches)[:, 0]), np.arange(40))


@pytest.mark.parametrize("format", ["parquet", "feather", "csv"])
@pytest.mark.parametrize("filtered", [False, True])
def test_a_dataset_is_taken_with_its_filter_and_format(tmp_path, format, filtered):
    table = pa.Table.from_pandas(frame().assign(year=[2020, 2021] * 20), preserve_index=False)
    partitioning = ds.partitioning(pa.schema([("year", pa.int32())]), flavor="hive")
    ds.write_dataset(table, tmp_path, format=format, partitioning=partitioning, max_rows_per_group=10)
    dataset = ds.dataset(tmp_path, format=format, partitioning="hive")
    expected = table
    if filtered:
        keep = (ds.field("year") == 2021) & (ds.field("x") > 4)
        dataset, expected = dataset.filter(keep), table.filter(keep)
    batches = ParquetBatches(dataset, "y", batch_rows=8)
    assert (batches.columns, batches.n_rows) == (["x", "z", "year"], expected.num_rows)
    rows = rows_of(batches)
    assert_array_equal(rows[np.argsort(rows[:, 0])], expected.select(["x", "z", "year", "y"]).to_pandas().to_numpy())
    assert_array_equal(rows_of(pickle.loads(pickle.dumps(batches))), rows)


def test_a_table_in_memory_is_a_dataset():
    batches = ParquetBatches(ds.dataset(pa.Table.from_pandas(frame())), "y", batch_rows=8)
    assert_array_equal(np.sort(rows_of(batches)[:, 0]), np.arange(40))


def test_a_dataset_of_which_the_filter_keeps_nothing_is_refused(tmp_path):
    frame().to_parquet(tmp_path / "0.parquet")
    with pytest.raises(ValueError, match="no rows that its filter keeps"):
        ParquetBatches(ds.dataset(tmp_path).filter(ds.field("x") > 99), "y")


# --- all files are looked at when the object is made -----------------------------------------------------------------


@pytest.mark.parametrize("poorer", [0, 1])
def test_a_file_that_lacks_a_column_is_named_with_it(tmp_path, poorer):
    frame().to_parquet(tmp_path / f"{1 - poorer}.parquet")
    frame().drop(columns="z").to_parquet(tmp_path / f"{poorer}.parquet")
    for columns in (None, ["z"]):
        with pytest.raises(ValueError, match=rf"{poorer}\.parquet' has no column \['z'\]"):
            ParquetBatches(tmp_path, "y", columns=columns)
    assert ParquetBatches(tmp_path, "y", columns=["x"]).n_rows == 80


@pytest.mark.parametrize("wider", [0, 1])
def test_the_dtype_is_the_widest_of_all_files(tmp_path, wider):
    fine = 1.0 + 2.0**-40
    for i, kind in ((wider, pa.float64()), (1 - wider, pa.float32())):
        write(tmp_path / f"{i}.parquet", x=pa.array([fine], kind), y=[1.0])
    batches = ParquetBatches(tmp_path, "y")
    assert batches.dtype == np.float64
    assert_array_equal(np.sort(rows_of(batches)[:, 0]), [1.0, fine])


@pytest.mark.parametrize(
    "values",
    [pa.array(["1", "2"]), pa.array(["1", "2"]).dictionary_encode(), pa.array([b"1", b"2"]), pa.array([None, None])],
    ids=["digits", "categories", "bytes", "nothing"],
)
@pytest.mark.parametrize("column", ["x", "y"])
def test_a_later_file_of_other_types_is_named_with_the_column(tmp_path, values, column):
    write(tmp_path / "0.parquet", x=[1.0, 2.0], y=[1.0, 2.0])
    write(tmp_path / "1.parquet", **({"x": [1.0, 2.0], "y": [1.0, 2.0]} | {column: values}))
    with pytest.raises(ValueError, match=rf"numbers or booleans, got {{'{column}'.*1\.parquet"):
        ParquetBatches(tmp_path, "y")


def test_columns_are_found_by_name_whatever_their_order(tmp_path):
    frame().to_parquet(tmp_path / "0.parquet")
    (frame() + 1000)[["y", "z", "x"]].to_parquet(tmp_path / "1.parquet")
    rows = rows_of(ParquetBatches(tmp_path, "y"))
    assert_array_equal(rows[np.argsort(rows[:, 0])], np.concatenate([frame(), frame() + 1000]))


def test_names_with_dots_are_names_like_others(tmp_path):
    pq.write_table(pa.table({"a": [1.0], "a.b": [2.0], "y": [3.0]}), tmp_path / "0.parquet")
    assert_array_equal(rows_of(ParquetBatches(tmp_path, "y")), [[1.0, 2.0, 3.0]])


def test_names_that_stand_twice_are_refused(tmp_path):
    table = pa.Table.from_arrays([pa.array([1.0])] * 3, names=["x", "x", "y"])
    pq.write_table(table, tmp_path / "0.parquet")
    with pytest.raises(ValueError, match=r"0\.parquet' has several columns of the name \['x'"):
        ParquetBatches(tmp_path, "y")
    with pytest.raises(ValueError, match="more than once"):
        ParquetBatches(tmp_path, "y", columns=["x", "x"])
    with pytest.raises(ValueError, match=r"got the string 'x'. Pass \['x'\]"):
        ParquetBatches(tmp_path, "y", columns="x")


def test_files_that_are_no_parquet_are_left_out(tmp_path):
    frame().to_parquet(tmp_path / "0")  # Parquet by its content
    (tmp_path / "README").write_text("Rows of 2024")
    (tmp_path / "empty").touch()
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / ".hidden").mkdir()
    frame().to_parquet(tmp_path / ".hidden" / "1.parquet")
    checkpoint = tmp_path / "model.checkpoint"
    for epochs in (1, 2):
        batches = ParquetBatches(tmp_path, "y")
        GDLinearRegressor().fit_batches(batches, epochs=epochs, checkpoint=checkpoint)
        assert batches.n_rows == 40


@pytest.mark.parametrize(("name", "content"), [("0.parquet", b""), ("0.parquet", b"text"), ("0", b"PAR1 cut short")])
def test_a_file_that_should_be_parquet_and_is_not_is_named(tmp_path, name, content):
    frame().to_parquet(tmp_path / "1.parquet")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}' cannot be read as a Parquet file"):
        ParquetBatches(tmp_path, "y")


def test_a_file_named_itself_must_be_parquet_and_there(tmp_path):
    (tmp_path / "README").write_text("Rows of 2024")
    with pytest.raises(ValueError, match="README' cannot be read as a Parquet file"):
        ParquetBatches([tmp_path / "README"], "y")
    with pytest.raises(FileNotFoundError, match="no file or folder.*absent"):
        ParquetBatches(tmp_path / "absent", "y")


def test_a_folder_without_files_says_so(tmp_path):
    for path in (tmp_path, []):
        with pytest.raises(ValueError, match="no Parquet files in"):
            ParquetBatches(path, "y")


def test_each_file_is_read_once_whatever_links_lead_to_it(tmp_path):
    folder = tmp_path / "rows"
    (folder / "year=2024").mkdir(parents=True)
    frame().to_parquet(folder / "year=2024" / "0.parquet")
    (folder / "again").symlink_to(folder, target_is_directory=True)
    (folder / "latest").symlink_to(folder / "year=2024", target_is_directory=True)
    (folder / "a.parquet").symlink_to(folder / "year=2024" / "0.parquet")
    (tmp_path / "linked").symlink_to(folder, target_is_directory=True)
    for path in (folder, tmp_path / "linked", [folder, folder / "year=2024" / "0.parquet"]):
        batches = ParquetBatches(path, "y")
        assert (batches.n_rows, batches.columns) == (40, ["x", "z", "year"])


def test_a_relative_path_is_one_of_the_folder_in_which_the_object_was_made(tmp_path, monkeypatch):
    frame().to_parquet(tmp_path / "0.parquet")
    monkeypatch.chdir(tmp_path)
    batches = ParquetBatches("0.parquet", "y")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert len(rows_of(batches)) == 40


# --- types that differ between the files of a dataset ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["parquet", "csv"])
@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize(
    ("first", "values"),
    [(np.float32, [[0.5, 2.0], [1.7e9 + 1.0, 1.7e9 + 2.0]]), (np.int64, [[1, 2], [1.5, 2.5]])],
    ids=["float32, then float64", "int64, then float64"],
)
def test_a_dataset_is_read_in_types_that_hold_the_numbers_of_all_files(tmp_path, kind, filtered, first, values):
    """The schema of a dataset is that of its first file."""
    for number, (x, dtype) in enumerate(zip(values, (first, np.float64), strict=True)):
        table = pa.table({"x": np.array(x, dtype=dtype), "y": np.array([1.0, 2.0])})
        if kind == "csv":
            pytest.importorskip("pyarrow.csv").write_csv(table, tmp_path / f"{number}.csv")
        else:
            pq.write_table(table, tmp_path / f"{number}.parquet")
    dataset = ds.dataset(tmp_path, format=kind)
    dataset = dataset.filter(ds.field("y") > 0.0) if filtered else dataset
    batches = ParquetBatches(dataset, "y", interleave=1)
    assert batches.dtype == np.float64
    assert_array_equal(np.sort(first_feature_of(batches)), np.sort(np.ravel(values)))


def test_a_file_without_rows_may_have_columns_without_a_type(tmp_path):
    write(tmp_path / "0.parquet", x=[1.0, 2.0], y=[1.0, 2.0])
    write(tmp_path / "1.parquet", x=pa.nulls(0), y=pa.nulls(0))
    batches = ParquetBatches(tmp_path, "y")
    assert (batches.n_rows, batches.dtype) == (2, np.float64)
    assert_array_equal(rows_of(batches), [[1.0, 1.0], [2.0, 2.0]])


def test_a_target_is_not_a_feature(tmp_path):
    write(tmp_path / "0.parquet", x=[1.0, 2.0], y=[1.0, 2.0])
    with pytest.raises(ValueError, match="columns names .'y'., which target names too"):
        ParquetBatches(tmp_path, "y", columns=["x", "y"])
