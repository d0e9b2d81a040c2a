"""Checkpoints of ``fit_batches``: files without code, with a checksum, and a lock between processes."""
