"""Orders in which an epoch visits the rows, in blocks."""

import numpy as np

# Rows per kernel call: between two calls callbacks run, Ctrl-C is handled, and the loss is checked to be finite.
BLOCK_ROWS = 1 << 16

# Rows up to which every row is placed at random.  Beyond, runs of consecutive rows are permuted and interleaved.
FULL_SHUFFLE_ROWS = 1 << 15
RUN_ROWS = 16  # a power of two
WINDOW_RUNS = 64
STRETCH_RUNS = BLOCK_ROWS // RUN_ROWS


def evenly_spaced(n, most):
    """Return at most ``most`` of the numbers 0 to ``n - 1``, evenly spaced."""
    return np.arange(n, dtype=np.intp) if n <= most else np.linspace(0, n - 1, most).astype(np.intp)


def in_order(n, size):
    """Yield the numbers 0 to ``n - 1`` in blocks of ``size``, the last one shorter."""
    for start in range(0, n, size):
        yield np.arange(start, min(start + size, n), dtype=np.intp)


def as_slice(order):
    """Return row numbers in increasing order as a slice where they lie one after the other, which copies no rows."""
    is_run = len(order) > 0 and order[-1] - order[0] == len(order) - 1
    return slice(int(order[0]), int(order[-1]) + 1) if is_run else order


def cut_in_order(rows, size):
    """Yield a slice, or row numbers in increasing order, in blocks of ``size``, as slices where that is possible."""
    if isinstance(rows, slice):
        yield from (slice(start, min(start + size, rows.stop)) for start in range(rows.start, rows.stop, size))
    else:
        yield from (as_slice(rows[start : start + size]) for start in range(0, len(rows), size))


def shuffled(n, rng):
    """Yield the numbers 0 to ``n - 1`` in a new random order, in blocks.

    Many rows are shuffled by runs of consecutive ones, so that gathering batches reads memory nearly in sequence: runs
    are permuted, each is rotated by a random amount, and the runs of a window are interleaved row by row.  Neighbours
    in the order, hence the rows of a batch, then come from different random runs and are close to independent.
    """
    if n <= FULL_SHUFFLE_ROWS:
        yield rng.permutation(n).astype(np.intp, copy=False)
        return
    n_runs, left = divmod(n, RUN_ROWS)
    first = int(rng.integers(left + 1))  # rows that belong to no run come before the first and after the last
    rest = np.append(np.arange(first), np.arange(first + n_runs * RUN_ROWS, n)).astype(np.intp, copy=False)
    runs = np.arange(first, first + n_runs * RUN_ROWS, RUN_ROWS, dtype=np.int32 if n < 2**31 else np.int64)
    for part in (rest, runs):
        rng.shuffle(part)
    turns = rng.integers(0, RUN_ROWS, n_runs, dtype=np.uint8)
    place = np.arange(RUN_ROWS, dtype=np.uint8)[:, None]
    for start in range(0, n_runs, STRETCH_RUNS):
        stop = min(start + STRETCH_RUNS, n_runs)
        width = WINDOW_RUNS if (stop - start) % WINDOW_RUNS == 0 else stop - start
        run, turn = (a[start:stop].reshape(-1, 1, width) for a in (runs, turns))
        yield np.add(run, (turn + place) & (RUN_ROWS - 1), dtype=np.intp).ravel()
    yield rest


def cut(blocks, size):
    """Cut consecutive blocks of numbers into blocks of ``size``, the last one shorter."""
    held, length = [], 0
    for block in blocks:
        held.append(block)
        length += len(block)
        if length >= size:
            joined, whole = held[0] if len(held) == 1 else np.concatenate(held), length // size * size
            for start in range(0, whole, size):
                yield joined[start : start + size]
            held, length = [joined[whole:]] if length > whole else [], length - whole
    if length:
        yield np.concatenate(held)
