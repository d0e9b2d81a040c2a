"""The partitions of the rows on a cluster, which are not moved, and sums over them of the results of tasks."""

from collections import defaultdict
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import reduce
from itertools import chain
from math import ceil
from operator import add, itemgetter

import numpy as np
from dask import delayed
from distributed import futures_of, get_client, get_worker, wait, worker_client
from distributed.comm.core import CommClosedError
from scipy.sparse import csr_array, issparse
from sklearn.utils import check_consistent_length, check_X_y

from .._data.checks import as_csr, as_targets, check_finite, check_weights
from .._data.rows import Rows
from .._data.statistics import StreamStatistics
from .._descent.backend import choose_backend
from .collections import aligned

# The errors of a lost scheduler; those of the second group only if the client has lost its connection.
LOST = (CommClosedError, CancelledError)
PERHAPS_LOST = (TimeoutError, OSError)

# Partitions per worker up to which each result is sent by itself, and tasks per worker up to which each gets its own
# copy of the broadcast arguments: sharing takes longer.
DIRECT = 4

# Bytes of X, about, up to which the partitions of one worker share a task: the scheduler takes a millisecond for each
# task, a worker much longer for so many bytes, and partitions that it has spilled to disk are not all read at once.
BYTES_PER_TASK = 1 << 28

# Bytes of all results up to which the client gathers them.
GATHERED_BYTES = 1 << 26

# Arguments of scikit-learn's validation of rows; that X is finite is checked by its column means.
READ_AS = dict(
    dtype=[np.float64, np.float32],
    accept_sparse="csr",
    order="C",
    multi_output=True,
    y_numeric=True,
    ensure_all_finite=False,
)


@dataclass
class PartitionStatistics:
    """The statistics of the rows of some partitions."""

    statistics: StreamStatistics
    dtype: np.dtype
    n_rows: dict  # by number of the partition: rows of non-zero weight

    def __add__(self, other):
        """Return the statistics of the rows of both."""
        mine, others = self.statistics, other.statistics
        statistics = replace(
            mine,
            features=None if mine.features is None else mine.features.merged(others.features),
            targets=mine.targets.merged(others.targets),
            n_young=mine.n_young + others.n_young,
            n_rows=mine.n_rows + others.n_rows,
            weight_sum=mine.weight_sum + others.weight_sum,
        )
        return PartitionStatistics(statistics, np.promote_types(self.dtype, other.dtype), self.n_rows | other.n_rows)


@contextmanager
def cluster_client(client):
    """Return the client to use: the given one, that of the task this runs in, or the newest one.

    Within a task the thread leaves its worker's pool meanwhile, so that the worker can compute the partitions.

    Raises
    ------
    ValueError
        If there is none.
    TypeError
        If it is asynchronous.
    """
    if client is None and _is_in_task():
        with worker_client() as own:
            yield own
        return
    if client is None:
        try:
            client = get_client()
        except ValueError as error:
            raise ValueError(
                "There is no Dask client. Make one first: from distributed import Client; client = Client()."
            ) from error
    if client.asynchronous:
        raise TypeError(
            "The Dask client is asynchronous, but fit and score wait for their results. Pass client=Client(address) "
            "without asynchronous=True, in its own thread: await asyncio.to_thread(model.fit, X, y, client=client)."
        )
    yield client


def _is_in_task():
    try:
        get_worker()
    except ValueError:
        return False
    return True


class Opaque:
    """Hides a tuple from dask, which would spend a millisecond searching it for collections."""

    def __init__(self, values):
        self.values = values


class Partitions:
    """The partitions of X, y and perhaps sample weights on the cluster of ``client``.

    A task is a function of the rows of one partition.  It runs on the worker that has them: dask reads or computes
    again the partitions that are not persisted, and those that are lost with a worker.  The persisted partitions of one
    worker share a task.  If there are more than a few results, each worker adds its own first, so that the traffic and
    the work of the scheduler grow with the number of workers, not of partitions.  A few results are added here in their
    order, so that the bits do not depend on the workers.
    """

    def __init__(self, client, X, y, sample_weight=None):
        self.client = client
        parts = aligned(X, y, sample_weight)
        self.held = {future.key: future for future in self._safely(futures_of, [X, y, sample_weight])}
        # A future in the place of a persisted collection spares sending its graph with every task.
        self.parts = [
            (number, tuple(None if rows is None else self.held.get(rows.key, rows) for rows in part))
            for number, part in enumerate(parts)
        ]
        self.n_threads = self._safely(client.nthreads)  # by worker
        self.groups = []  # of places in ``parts``, one for each task; set by ``compute_statistics``
        self.n_rows = self.dtype = self.mean_weight = None

    def __len__(self):
        """Return the number of partitions, or of those with rows after ``compute_statistics``."""
        return len(self.parts)

    def compute_statistics(self, standardize):
        """Check all rows and return their ``PartitionStatistics``; call this before ``map_reduce``."""
        tasks = [delayed(_compute_statistics)(number, *part, standardize) for number, part in self.parts]
        result = self._sum(tasks)
        self.parts = [(number, part) for number, part in self.parts if result.n_rows[number] > 0]
        self.n_rows = [result.n_rows[number] for number, _ in self.parts]
        self.dtype = result.dtype
        self.mean_weight = result.statistics.weight_sum / max(result.statistics.n_rows, 1)
        self.groups = self._safely(self._group)
        return result

    def _group(self):
        """Return the groups of places: persisted partitions on one worker together, every other one by itself.

        A worker has a group for each of its threads, and more if its groups would have many bytes, or more than a
        thread's share of all of them: dask may move those.  After the loss of a worker the groups do not change.
        """
        self.n_threads = self.client.nthreads()  # workers may have been added
        futures = [self._origin(X) for _, (X, *_) in self.parts]
        persisted = [future for future in futures if future is not None]
        held_by = self.client.who_has(persisted) if persisted else {}
        n_bytes = self.client.nbytes([future.key for future in persisted], summary=False) if persisted else {}
        share = max(1.0, sum(n_bytes.values()) / max(1, sum(self.n_threads.values())))
        groups, by_worker = [], defaultdict(list)
        for place, future in enumerate(futures):
            workers = () if future is None else held_by.get(future.key, ())
            if workers:
                by_worker[workers[0]].append(place)
            else:
                groups.append([place])
        for worker, places in by_worker.items():
            size = sum(n_bytes.get(futures[place].key, 0) for place in places)
            n_groups = max(self.n_threads.get(worker, 1), ceil(size / BYTES_PER_TASK), round(size / share))
            groups += [group.tolist() for group in np.array_split(places, min(n_groups, len(places)))]
        return groups

    def _origin(self, rows):
        """Return the future of a partition, or the only one it is computed from, such as a persisted dataframe."""
        key = rows.key
        while key not in self.held:
            task = rows.dask.get(key)
            below = getattr(task, "dependencies", ())
            if len(below) != 1:
                return None
            (key,) = below
        return self.held[key]

    def map_reduce(self, task, *broadcast, per_partition=None, n_bytes=0):
        """Return the sum over partitions of the results of a task, which are tuples of arrays.

        Parameters
        ----------
        task : callable
            From the ``Rows`` of a partition, its own argument if there is one, and the broadcast ones, to the result.
        *broadcast : object
            Arguments of all partitions.
        per_partition : sequence, default=None
            One more argument for each partition.
        n_bytes : int, default=0
            About the size of a result; large ones are added on the workers.
        """
        few, broadcast = not self._many(len(self)), Opaque(broadcast)
        groups = self.groups
        large = n_bytes * (len(self) if few else len(groups)) > GATHERED_BYTES
        if large and few:  # one by one, so that the bits do not depend on the workers
            groups = [[place] for place in range(len(self))]
        if self._many(len(self.groups)):
            broadcast = self._safely(lambda: self.client.submit(_as_is, broadcast, pure=False))  # a copy per worker
        own = [()] * len(self) if per_partition is None else [(value,) for value in per_partition]
        tasks = []
        for group in groups:
            parts, mine = [self.parts[place][1] for place in group], [own[place] for place in group]
            common = self.dtype, self.mean_weight, broadcast
            tasks.append(delayed(_run_group)(task, parts, mine, *common, add_up=large or not few))
        if large:
            return self._safely(self._sum_in_pairs, tasks)
        if not few:
            return self._sum(tasks)
        results = chain.from_iterable(self._safely(lambda: self.client.gather(self.client.compute(tasks))))
        places = chain.from_iterable(self.groups)
        return _add([result for _, result in sorted(zip(places, results, strict=True), key=itemgetter(0))])

    def _many(self, number):
        """Whether there are so many partitions, or tasks, per worker that sharing saves time."""
        return number > DIRECT * len(self.n_threads)

    def _sum(self, tasks):
        """Return the sum of the results of ``tasks``."""
        return self._safely(self._sum_up, tasks)

    def _sum_up(self, tasks):
        results = self.client.compute(tasks)
        if self._many(len(tasks)):
            results = self._sums_by_worker(results)
        return _add(self.client.gather(results))

    def _sum_in_pairs(self, tasks):
        """Return the sum of large results, which are added two at a time where one of both lies."""
        while len(tasks) > 1:
            pairs = [tasks[i : i + 2] for i in range(0, len(tasks), 2)]
            tasks = [delayed(_add)(pair) if len(pair) == 2 else pair[0] for pair in pairs]
        return self.client.gather(self.client.compute(tasks[0]))

    def _sums_by_worker(self, results):
        """Return the sums of those results that are on one worker, computed there."""
        wait(results)
        held_by = self.client.who_has(results)
        by_worker = defaultdict(list)
        for result in results:
            by_worker[next(iter(held_by.get(result.key, ())), None)].append(result)
        sums = []
        for worker, mine in by_worker.items():  # no worker has the result of a failed task
            there = {} if worker is None else {"workers": [worker], "allow_other_workers": True}
            sums.append(self.client.submit(_add, mine, pure=False, **there))
        return sums

    def _safely(self, call, *args):
        """Call a function; if the scheduler is lost meanwhile, raise an error that names this."""
        try:
            return call(*args)
        except (*LOST, *PERHAPS_LOST) as error:
            if not isinstance(error, LOST) and self.client.status == "running":
                raise  # it comes from the partition itself
            raise RuntimeError(
                f"The connection to the Dask scheduler was lost ({error!r}). The model is as it was before: connect a "
                "new distributed.Client and call fit again."
            ) from error


def _compute_statistics(number, X, y, sample_weight, standardize):
    """Check the rows of a partition; return their statistics."""
    statistics = StreamStatistics.empty(X.shape[1], 1 if y.ndim == 1 else y.shape[1], standardize)
    dtype = np.dtype(np.float32)  # a partition without rows does not change the common dtype
    try:
        check_consistent_length(X, y, sample_weight)
        if X.shape[0] > 0:
            X, y = check_X_y(X, y, **READ_AS)
            X = as_csr(X) if issparse(X) else X
            dtype, weight = X.dtype, check_weights(sample_weight, X)
            if weight is None or weight.any():
                statistics.add(choose_backend(X), X, as_targets(y, dtype), weight)
            known = statistics.features is not None and weight is None
            check_finite(X, statistics.features.mean if known else None, "DaskGDLinearRegressor")
    except ValueError as error:
        raise ValueError(f"In partition {number}, counted from 0: {error}") from error
    return PartitionStatistics(statistics, dtype, {number: statistics.n_rows})


def _run_group(task, parts, own, dtype, mean_weight, broadcast, add_up):
    """Run a task on the rows of each of some partitions; return the results, or their sum."""
    results = [
        task(_as_rows(*part, dtype, mean_weight), *mine, *broadcast.values)
        for part, mine in zip(parts, own, strict=True)
    ]
    return _add(results) if add_up else results


def _as_rows(X, y, sample_weight, dtype, mean_weight):
    """Return the rows of a partition as ``Rows``, their weights over the mean weight of all rows."""
    X = as_csr(csr_array(X).astype(dtype)) if issparse(X) else np.ascontiguousarray(X, dtype=dtype)
    Y = as_targets(np.asarray(y), dtype)
    if sample_weight is None:
        return Rows(X, Y)
    s = np.asarray(sample_weight, dtype=np.float64)
    return Rows(X, Y, (s / mean_weight).astype(dtype), None if s.all() else np.flatnonzero(s))


def _add(results):
    """Return the sum of results, of tuples element by element."""
    if isinstance(results[0], tuple):
        return tuple(reduce(add, parts) for parts in zip(*results, strict=True))
    return reduce(add, results)


def _as_is(value):
    return value
