"""Reading Parquet files for ``ParquetBatches``: which files and columns, how one is read, and into which chunks."""
