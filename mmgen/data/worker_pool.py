"""A crew of processes that does chunks of work; a chunk that kills its process is done again item by item."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any

AHEAD = 4
"""Chunks that wait for each process: enough to keep it busy, few enough to bound memory."""


class Crew:
    """Runs functions of this package in other processes; a context.

    Args:
        workers: processes; with 1 the work is done in one process beside this one.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool = self._new(workers)

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def begin(self, work: Callable[[Any], Any]) -> None:
        """Start the processes, with all that `work` needs imported, while this one has other things to do."""
        for _ in range(self._workers):
            self._pool.submit(work, [])

    def map(self, work: Callable[[Any], Any], chunks: Sequence[Sequence[Any]]) -> Iterator[tuple[int, list[Any]]]:
        """(place, results) of every chunk, as they are done; None for an item that ended its process.

        Args:
            work: from a list of items to a list of results.
            chunks: lists of items.

        Raises:
            Exception: what `work` raised.
        """
        waiting: dict[Future[Any], int] = {}
        broken: list[int] = []
        left = iter(range(len(chunks)))
        while True:
            while len(waiting) < AHEAD * self._workers and (place := next(left, None)) is not None:
                try:
                    waiting[self._pool.submit(work, chunks[place])] = place
                except BrokenProcessPool:
                    self._pool = self._new(self._workers)
                    waiting[self._pool.submit(work, chunks[place])] = place
            if not waiting:
                break
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                place = waiting.pop(future)
                try:
                    yield place, future.result()
                except BrokenProcessPool:
                    broken.append(place)
        for place in broken:
            yield place, self._one_by_one(work, chunks[place])

    def _one_by_one(self, work: Callable[[Any], Any], chunk: Sequence[Any]) -> list[Any]:
        """Each item of a chunk in a process of its own making, if need be; the one that kills it gets None."""
        done: list[Any] = []
        for item in chunk:
            with self._new(1) as alone:
                try:
                    done += alone.submit(work, [item]).result()
                except BrokenProcessPool:
                    done.append(None)
        return done

    @staticmethod
    def _new(workers: int) -> ProcessPoolExecutor:
        # Not forked: this process may hold threads whose locks a child would inherit locked.
        return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
