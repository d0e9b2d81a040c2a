"""The partitions of the rows on a cluster, which stay where they are, and questions asked of each of them."""

from collections import defaultdict
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from functools import reduce
from itertools import chain
from math import ceil
from operator import add, itemgetter

import numpy as np
from dask import delayed
from distributed import futures_of, wait
from distributed.comm.core import CommClosedError
from sklearn.utils import check_consistent_length, check_X_y

from ._collections import aligned
from ._rows import Data
from ._setup import Knowledge
from ._validation import as_targets, check_finite, check_weights

# What a lost scheduler looks like from here; the others too, where the client has lost its connection.
LOST = (CommClosedError, CancelledError)
PERHAPS_LOST = (TimeoutError, OSError)


# Partitions per worker up to which each answers by itself, and tasks per worker up to which each is told all it is
# asked: to share takes longer.
DIRECT = 4

# Bytes of X, about, up to which partitions that lie on one worker are asked by one task: the scheduler takes a
# millisecond for each, a worker many for so many bytes, and what it has put on disk need not come back all at once.
TOGETHER = 1 << 28


# How scikit-learn is to read rows; that X is finite is seen from its column means.
READ_AS = dict(dtype=[np.float64, np.float32], order="C", multi_output=True, y_numeric=True, ensure_all_finite=False)


@dataclass
class Stock:
    """What a first look at rows tells."""

    knowledge: Knowledge
    dtype: np.dtype
    n_rows: dict  # by number of the partition: rows that count

    def __add__(self, other):
        """Return the stock of the rows of both."""
        mine, others = self.knowledge, other.knowledge
        knowledge = replace(
            mine,
            features=None if mine.features is None else mine.features.merged(others.features),
            targets=mine.targets.merged(others.targets),
            n_young=mine.n_young + others.n_young,
            n_rows=mine.n_rows + others.n_rows,
            weight_sum=mine.weight_sum + others.weight_sum,
        )
        return Stock(knowledge, np.promote_types(self.dtype, other.dtype), self.n_rows | other.n_rows)


class _Told:
    """What is told with a question; dask would look through a tuple for collections, which takes it a millisecond."""

    def __init__(self, values):
        self.values = values


class Partitions:
    """The partitions of X, y and perhaps sample weights on the cluster of ``client``.

    A question is a function of the rows of one partition. It runs where they lie, or where they are made: dask reads
    or computes anew what nobody persisted and what is lost with a worker. Persisted partitions are asked together
    where they lie, and more than a few answers are added on each worker first, so that what travels, and what the
    scheduler has to do, grows with the number of workers, not of partitions. A few are added here in their order,
    so that the bits do not depend on where they lie.
    """

    def __init__(self, client, X, y, sample_weight=None):
        self.client = client
        parts = aligned(X, y, sample_weight)
        self.held = {future.key: future for future in self._safely(futures_of, [X, y, sample_weight])}
        # A future in the place of what is persisted spares sending its graph with every question.
        self.parts = [
            (number, tuple(None if rows is None else self.held.get(rows.key, rows) for rows in part))
            for number, part in enumerate(parts)
        ]
        self.n_threads = self._safely(client.nthreads)  # by worker
        self.groups = []  # of places in ``parts``, what each task is asked for; once stock was taken
        self.n_rows = self.dtype = self.mean_weight = None

    def __len__(self):
        """Return the number of partitions; of those that hold rows, once stock was taken."""
        return len(self.parts)

    def take_stock(self, settings):
        """Check all rows and take stock of them; the questions below can then be asked."""
        tasks = [delayed(_take_stock)(number, *part, settings) for number, part in self.parts]
        stock = self._sum(tasks)
        self.parts = [(number, part) for number, part in self.parts if stock.n_rows[number] > 0]
        self.n_rows = [stock.n_rows[number] for number, _ in self.parts]
        self.dtype, self.mean_weight = stock.dtype, stock.knowledge.weight_sum / max(stock.knowledge.n_rows, 1)
        self.groups = self._safely(self._group)
        return stock

    def _group(self):
        """Return the groups of places: of persisted partitions those that lie on one worker, of the others each alone.

        A worker has a group for each of its threads, more where its groups would be of many bytes, or of more than a
        thread's share of all of them: dask may move those. After the loss of a worker groups draw their rows together.
        """
        self.n_threads = self.client.nthreads()  # workers may have come since
        futures = [self._origin(X) for _, (X, *_) in self.parts]
        persisted = [future for future in futures if future is not None]
        lying = self.client.who_has(persisted) if persisted else {}
        n_bytes = self.client.nbytes([future.key for future in persisted], summary=False) if persisted else {}
        share = max(1.0, sum(n_bytes.values()) / max(1, sum(self.n_threads.values())))
        groups, by_worker = [], defaultdict(list)
        for place, future in enumerate(futures):
            workers = () if future is None else lying.get(future.key, ())
            if workers:
                by_worker[workers[0]].append(place)
            else:
                groups.append([place])
        for worker, places in by_worker.items():
            size = sum(n_bytes.get(futures[place].key, 0) for place in places)
            n_groups = max(self.n_threads.get(worker, 1), ceil(size / TOGETHER), round(size / share))
            groups += [group.tolist() for group in np.array_split(places, min(n_groups, len(places)))]
        return groups

    def _origin(self, rows):
        """Return the future that a partition is, or is made of alone, as columns of a persisted dataframe are."""
        key = rows.key
        while key not in self.held:
            task = rows.dask.get(key)
            below = getattr(task, "dependencies", ())
            if len(below) != 1:
                return None
            (key,) = below
        return self.held[key]

    def total(self, question, *told, own=None):
        """Return the sum of the partitions' answers, tuples of arrays; ``own`` holds one more argument for each."""
        few, told = not self._many(len(self)), _Told(told)
        if self._many(len(self.groups)):
            told = self._safely(lambda: self.client.submit(_as_is, told, pure=False))  # one copy for each worker
        own = [()] * len(self) if own is None else [(value,) for value in own]
        tasks = []
        for group in self.groups:
            parts, mine = [self.parts[place][1] for place in group], [own[place] for place in group]
            tasks.append(delayed(_answers)(question, parts, self.dtype, self.mean_weight, told, mine, add_up=not few))
        if not few:
            return self._sum(tasks)
        answers = chain.from_iterable(self._safely(lambda: self.client.gather(self.client.compute(tasks))))
        places = chain.from_iterable(self.groups)
        return _add([answer for _, answer in sorted(zip(places, answers, strict=True), key=itemgetter(0))])

    def _many(self, number):
        """Whether there are more partitions, or tasks, for each worker than is worth to talk about each of them."""
        return number > DIRECT * len(self.n_threads)

    def _sum(self, tasks):
        """Return the sum of what ``tasks`` return."""
        return self._safely(self._sum_up, tasks)

    def _sum_up(self, tasks):
        answers = self.client.compute(tasks)
        if self._many(len(tasks)):
            answers = self._sums_by_worker(answers)
        return _add(self.client.gather(answers))

    def _sums_by_worker(self, answers):
        """Return the sums of those answers that lie on one worker, made there."""
        wait(answers)
        lying = self.client.who_has(answers)
        by_worker = defaultdict(list)
        for answer in answers:
            by_worker[next(iter(lying.get(answer.key, ())), None)].append(answer)
        sums = []
        for worker, mine in by_worker.items():  # a failed answer lies nowhere
            there = {} if worker is None else {"workers": [worker], "allow_other_workers": True}
            sums.append(self.client.submit(_add, mine, pure=False, **there))
        return sums

    def _safely(self, call, *args):
        """Call; if the scheduler is lost on the way, say so."""
        try:
            return call(*args)
        except (*LOST, *PERHAPS_LOST) as error:
            if not isinstance(error, LOST) and self.client.status == "running":
                raise  # of the partition's own making
            raise RuntimeError(
                f"The connection to the Dask scheduler was lost ({error!r}). The model is as it was before: connect a "
                "new distributed.Client and call fit again."
            ) from error


def squared_errors(data, predict):
    """Return the weighted squared errors of the predictions, summed per target, as a tuple of one."""
    error = predict(data.X).reshape(data.Y.shape) - data.Y
    weight = np.ones(len(error)) if data.weight is None else data.weight
    return (weight @ error.astype(np.float64) ** 2,)


def _take_stock(number, X, y, sample_weight, settings):
    """Check the rows of a partition; return their stock."""
    knowledge = Knowledge.empty(X.shape[1], 1 if y.ndim == 1 else y.shape[1], settings)
    dtype = np.dtype(np.float32)  # no rows, no say
    try:
        check_consistent_length(X, y, sample_weight)
        if len(X) > 0:
            X, y = check_X_y(X, y, **READ_AS)
            dtype, weight = X.dtype, check_weights(sample_weight, X)
            if weight is None or weight.any():
                knowledge.add(X, as_targets(y, dtype), weight)
            known = knowledge.features is not None and weight is None
            check_finite(X, knowledge.features.mean if known else None, "DaskGDLinearRegressor")
    except ValueError as error:
        raise ValueError(f"In partition {number}, counted from 0: {error}") from error
    return Stock(knowledge, dtype, {number: knowledge.n_rows})


def _answers(question, parts, dtype, mean_weight, told, owns, add_up):
    """Put a question to the rows of each of some partitions; return the answers, or their sum."""
    answers = [_answer(question, *part, dtype, mean_weight, told, own) for part, own in zip(parts, owns, strict=True)]
    return _add(answers) if add_up else answers


def _answer(question, X, y, sample_weight, dtype, mean_weight, told, own):
    """Put a question to the rows of a partition."""
    X = np.ascontiguousarray(X, dtype=dtype)
    Y = as_targets(np.asarray(y), dtype)
    weight = index = None
    if sample_weight is not None:
        s = np.asarray(sample_weight, dtype=np.float64)
        weight = (s / mean_weight).astype(dtype)
        index = None if s.all() else np.flatnonzero(s)
    return question(Data(X, Y, weight, index), *own, *told.values)


def _add(answers):
    """Return the sum of answers, tuples element by element."""
    if isinstance(answers[0], tuple):
        return tuple(reduce(add, parts) for parts in zip(*answers, strict=True))
    return reduce(add, answers)


def _as_is(value):
    return value
