"""Writes to MLflow that lose against others who make them at the same moment."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST

from mmgen.errors import OutrunError, TrackingError
from mmgen.ops.registry import champions, registration
from mmgen.ops.registry.champions import promote, settle
from mmgen.ops.registry.registration import register
from mmgen.ops.registry.registry import history, holder
from mmgen.ops.storage.exclusive import shelf
from mmgen.ops.tracking import concurrent_writes, live_delivery
from mmgen.ops.tracking.client import connected, tracking_uri
from mmgen.ops.tracking.stage_run import stage_run
from tests.ops.registry.test_champions import NAME, aliases, append, versions
from tests.support.runs import make_trained, small_run

STALE = "DELETE statement on table 'registered_model_aliases' expected to delete 1 row(s); 0 were matched."
TAKEN = (
    "(sqlite3.IntegrityError) UNIQUE constraint failed: registered_model_aliases.workspace, "
    "registered_model_aliases.name, registered_model_aliases.alias"
)


WRITES = (
    "create_model_version",
    "delete_registered_model_alias",
    "set_model_version_tag",
    "set_registered_model_alias",
    "set_tag",
)


class Outraced:
    """A client that loses races: it stands for MLflow's SQL store while others write the same rows.

    Its errors are those that a store on SQLite gave to one of fifty who promoted at once. As there, somebody else's
    write comes first: `meanwhile` is called with the number of each try that is lost. Each kind of write loses
    `losses` times.
    """

    def __init__(self, client: Any, losses: int, words: str, meanwhile: Callable[[int], object] = lambda number: None):
        self._client, self._losses, self._words, self._meanwhile = client, losses, words, meanwhile
        self.lost: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        called = getattr(self._client, name)
        return self._losing(name, called) if name in WRITES else called

    def _losing(self, name: str, called: Callable[..., Any]) -> Callable[..., Any]:
        def lose(*what: Any, **how: Any) -> Any:
            if self.lost[name] < self._losses:
                self.lost[name] += 1
                self._meanwhile(self.lost.total())
                raise MlflowException(self._words, error_code=BAD_REQUEST)
            return called(*what, **how)

        return lose


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrent_writes, "PAUSE_SECONDS", 0)


@pytest.mark.parametrize("words", [TAKEN, STALE], ids=["taken", "gone"])
@pytest.mark.usefixtures("no_pauses")
def test_who_loses_races_for_the_aliases_sets_what_the_log_says_by_then(root: Path, tmp_path: Path, words: str) -> None:
    versions(root, tmp_path / "out", 2)
    append(root, "1", before="")

    def another(number: int) -> None:
        if number == 2:
            append(root, "2", before="1")

    with connected(tracking_uri(root)) as client:
        outraced = Outraced(client, 5, words, another)
        settle(outraced, shelf(root), NAME)

    assert outraced.lost == {"set_registered_model_alias": 5, "delete_registered_model_alias": 5}
    assert aliases(root) == {"champion": "2", "previous": "1"}


@pytest.mark.usefixtures("no_pauses")
def test_who_loses_every_race_gives_up_in_one_line(root: Path, tmp_path: Path) -> None:
    versions(root, tmp_path / "out", 1)
    append(root, "1", before="")

    with connected(tracking_uri(root)) as client, pytest.raises(TrackingError, match="keeps changing; see: mmgen hist"):
        settle(Outraced(client, 1000, TAKEN), shelf(root), NAME)


@pytest.mark.usefixtures("no_pauses")
def test_a_tracker_that_fails_otherwise_is_not_asked_again(root: Path, tmp_path: Path) -> None:
    versions(root, tmp_path / "out", 1)
    append(root, "1", before="")

    asked: list[Outraced] = []

    def settle_badly() -> None:
        with connected(tracking_uri(root)) as client:
            asked.append(Outraced(client, 1000, "Connection refused"))
            settle(asked[0], shelf(root), NAME)

    with pytest.raises(TrackingError, match="failed: Connection refused; check"):
        settle_badly()

    assert asked[0].lost.total() == 1


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("decision", ["promote", "inconclusive"])
def test_a_registration_that_loses_races_is_made_once_and_named(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decision: str
) -> None:
    run = small_run(root)
    make_trained(run, decision=decision)
    slow: list[Outraced] = []

    @contextlib.contextmanager
    def losing(uri: str) -> Iterator[Outraced]:
        with connected(uri) as client:
            slow.append(Outraced(client, 4, TAKEN))
            yield slow[-1]

    monkeypatch.setattr(registration, "connected", losing)
    with stage_run(run, "register", tmp_path) as tracked:
        register(run, tracked, tmp_path)

    assert slow[0].lost["create_model_version"] == slow[0].lost["set_model_version_tag"] == 4
    assert ("set_registered_model_alias" in slow[0].lost) == (decision != "promote")  # else the promotion does that
    assert aliases(root) == {"champion" if decision == "promote" else "challenger": "1"}
    (version,) = history(root, NAME)
    assert (version.tags["mmgen.verdict"], version.tags["mmgen.settled"]) == (decision, "true")


def test_a_champion_that_changes_while_it_is_looked_up_was_not_set_by_hand(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions(root, tmp_path / "out", 3)
    promote(root, NAME, "1")
    looks = iter(range(1000))

    def late(*what: Any) -> str | None:
        if next(looks) == 0:  # the log has been read, the registry not yet
            promote(root, NAME, "2", expected="1")
        return holder(*what)

    monkeypatch.setattr(champions, "holder", late)

    with pytest.raises(OutrunError, match="is version 2, not version 1 as was expected"):
        promote(root, NAME, "3", expected="1")


@pytest.mark.usefixtures("no_pauses")
def test_a_stage_whose_tags_lose_races_is_told_all_the_same(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stages that run side by side set the same tags of the same run."""

    @contextlib.contextmanager
    def losing(uri: str) -> Iterator[Outraced]:
        with connected(uri) as client:
            yield Outraced(client, 3, TAKEN)

    monkeypatch.setattr(live_delivery, "connected", losing)
    with stage_run(small_run(root), "report", tmp_path) as tracked:
        pass

    with connected(tracking_uri(root)) as client:
        assert client.get_run(tracked.parent_id).info.status == "FINISHED"
    assert capsys.readouterr().err == ""
