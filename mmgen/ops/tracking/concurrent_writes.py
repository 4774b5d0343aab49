"""Writes to MLflow that several processes may make at once, such as a name of the registry or a tag of a run.

MLflow's SQL store reads a row and then inserts, changes or deletes it. Where two do so at the same moment, the second
gets an error of the database as its answer, and may simply try again. Such an answer proves that the tracker lives;
any other error goes to the caller at once.
"""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

TRIES = 20
"""Most tries of one write, first one included."""
SECONDS = 60.0
"""No further try begins after this time."""
PAUSE_SECONDS = 0.05
"""Longest pause before the second try, doubled from there up to ..."""
LONGEST_PAUSE_SECONDS = 1.0

RACE = re.compile(
    r"UNIQUE constraint failed|database is locked"  # SQLite
    r"|duplicate key value|deadlock detected|could not serialize"  # PostgreSQL
    r"|Duplicate entry|Deadlock found"  # MySQL
    r"|expected to (?:delete|update) \d+ row\(s\); .*were matched"  # SQLAlchemy: the row is gone, or was changed
    r"|Model Version creation error .* Giving up after"  # MLflow: others took the next number each time
)
"""In the error that the slower one of two gets."""


def rounds() -> Iterator[int]:
    """Numbers of the tries of one write, from 0; waits before each but the first, by chance, so that two part."""
    ends, pause = time.monotonic() + SECONDS, PAUSE_SECONDS
    for number in range(TRIES):
        if number:
            if time.monotonic() >= ends:
                return
            time.sleep(random.uniform(0, pause))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        yield number


@contextlib.contextmanager
def passed_over() -> Iterator[None]:
    """The block ends where it lost a race; every other error is raised."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if not RACE.search(str(error)):
            raise


def again(write: Callable[..., T], *what: object) -> T:
    """Result of `write(*what)`, which is repeated while it loses races.

    Raises:
        MlflowException: it failed otherwise, or its last try lost as well.
    """
    from mlflow.exceptions import MlflowException

    for _ in rounds():
        try:
            return write(*what)
        except MlflowException as error:
            if not RACE.search(str(error)):
                raise
            lost = error
    raise lost
