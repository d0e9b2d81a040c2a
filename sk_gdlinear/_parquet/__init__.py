"""Reading of Parquet files for ``ParquetBatches``: the files and columns, one file, and the chunks."""
