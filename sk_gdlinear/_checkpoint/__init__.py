"""Checkpoints of ``fit_batches``: files that contain no code, with a checksum, and a lock between processes."""
