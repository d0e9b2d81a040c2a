"""ParquetBatches: what a model learns of names, and of values that are missing."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from parquet_files import frame, pa, pq
from sk_gdlinear import GDLinearRegressor, ParquetBatches

pd = pytest.importorskip("pandas", reason="the frames are pandas'")


# --- the model knows the names ---------------------------------------------------------------------------------------


def test_the_model_has_the_names_of_the_columns(tmp_path):
    data = frame()
    data.to_parquet(tmp_path / "0.parquet")
    batches = ParquetBatches(tmp_path, "y", batch_rows=16)
    for source in (batches, lambda: batches):
        model = GDLinearRegressor(random_state=0).fit_batches(source, epochs=2)
        assert_array_equal(
            model.feature_names_in_, GDLinearRegressor().fit(data[["x", "z"]], data["y"]).feature_names_in_
        )
        model.predict(data[["x", "z"]])
        with pytest.raises(ValueError, match="feature names"):
            model.predict(data[["z", "x"]])
        with pytest.raises(ValueError, match="feature names"):
            model.predict(data[["x", "z"]].rename(columns={"z": "w"}))


@pytest.mark.parametrize("saved", [1, 2])
def test_a_checkpoint_of_other_columns_is_refused(tmp_path, saved):
    frame().to_parquet(tmp_path / "0.parquet")
    checkpoint = tmp_path / "checkpoint"
    GDLinearRegressor().fit_batches(ParquetBatches(tmp_path, "y"), epochs=saved, checkpoint=checkpoint)
    model = GDLinearRegressor().fit_batches(ParquetBatches(tmp_path, "y"), epochs=2, checkpoint=checkpoint)
    assert list(model.feature_names_in_) == ["x", "z"]
    other = ParquetBatches(tmp_path, "y", columns=["z", "x"])
    with pytest.raises(ValueError, match=r"trained on the features \['x', 'z'\].*columns \['z', 'x'\]"):
        GDLinearRegressor().fit_batches(other, epochs=2, checkpoint=checkpoint)


def test_a_warm_start_on_other_columns_is_refused_and_changes_nothing(tmp_path, state_of):
    data = frame()
    data.to_parquet(tmp_path / "0.parquet")
    model = GDLinearRegressor(warm_start=True).fit(data[["x", "z"]], data["y"])
    model.fit_batches(ParquetBatches(tmp_path, "y"), epochs=1)
    before = state_of(model)
    with pytest.raises(ValueError, match="trained on the features"):
        model.fit_batches(ParquetBatches(tmp_path, "y", columns=["z", "x"]), epochs=1)
    assert state_of(model) == before


def test_a_model_that_began_without_names_goes_on_without(tmp_path):
    data = frame()
    data.to_parquet(tmp_path / "0.parquet")
    model = GDLinearRegressor(warm_start=True).fit(data[["x", "z"]].to_numpy(), data["y"])
    model.fit_batches(ParquetBatches(tmp_path, "y"), epochs=1)
    assert not hasattr(model, "feature_names_in_")


class Named(list):
    """Chunks that know the names of their columns."""

    columns = ["a", "b"]


def test_chunks_of_ones_own_may_name_their_columns():
    X = np.arange(20.0).reshape(10, 2)
    model = GDLinearRegressor().fit_batches(Named([(X, X[:, 0])] * 3), epochs=1)
    assert list(model.feature_names_in_) == ["a", "b"]
    with pytest.raises(ValueError, match=r"X has 1 columns, but batches.columns names 2"):
        GDLinearRegressor().fit_batches(Named([(X[:, :1], X[:, 0])]), epochs=1)
    frames = Named([(pd.DataFrame(X, columns=["a", "b"]), X[:, 0])] * 3)
    assert list(GDLinearRegressor().fit_batches(frames, epochs=1).feature_names_in_) == ["a", "b"]


# --- missing values are told with their place ------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "words"), [(None, "no value"), (np.nan, "no value"), (np.inf, "an infinite value")])
@pytest.mark.parametrize("column", ["x", "z", "y"])
@pytest.mark.parametrize("interleave", [1, 16])
def test_a_missing_value_is_named_with_its_file_and_row(tmp_path, value, words, column, interleave):
    frame(1000).to_parquet(tmp_path / "0.parquet", row_group_size=100)
    columns = frame(1000).to_dict("list")
    columns[column][345] = value
    pq.write_table(pa.table(columns), tmp_path / "1.parquet", row_group_size=100)
    batches = ParquetBatches(tmp_path, "y", batch_rows=64, interleave=interleave)
    message = rf"column '{column}' has {words}.* in row 45 of row group 3 of the file '.*1\.parquet'"
    with pytest.raises(ValueError, match=message):
        GDLinearRegressor().fit_batches(batches, epochs=1)
