"""Who becomes champion when several want to, when somebody is killed on the way, when the log was changed."""

from __future__ import annotations

import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mmgen.errors import ConfigError, OutrunError, StorageError, TrackingError
from mmgen.ops.registry import champions, promotions
from mmgen.ops.registry.champions import NOBODY, check_verdict, move, promote, rollback, settle
from mmgen.ops.registry.promotions import moves
from mmgen.ops.registry.registration import register
from mmgen.ops.registry.registry import history, holder
from mmgen.ops.stages.register import register as register_stage
from mmgen.ops.storage.exclusive import FolderShelf, shelf
from mmgen.ops.tracking import concurrent_writes
from mmgen.ops.tracking.client import connected, tracking_uri
from mmgen.ops.tracking.stage_run import stage_run
from mmgen.progress import choose
from tests.support.runs import make_trained, small_run

NAME = "mmgen-emoji"


def versions(root: Path, out: Path, count: int) -> None:
    """Registered versions 1 to `count`; the gate promoted none of them."""
    out.mkdir(exist_ok=True)
    for number in range(1, count + 1):
        run = small_run(root, number)
        make_trained(run, decision="inconclusive", shade=number)
        with stage_run(run, "register", out) as tracked:
            register(run, tracked, out)


def aliases(root: Path) -> dict[str, str]:
    return {alias: version.version for version in history(root, NAME) for alias in version.aliases}


def append(root: Path, version: str, before: str) -> None:
    """A move that is in the log, of somebody who was killed before the aliases followed."""
    known = moves(shelf(root), NAME)
    facts = {"action": "promote", "reason": "", "run_key": "", "model_sha256": ""}
    assert promotions.append(shelf(root), known, model=NAME, version=version, before=before, **facts)


def test_of_fifty_who_add_the_same_thing_one_succeeds(tmp_path: Path) -> None:
    ground = FolderShelf(tmp_path / "shelf")
    with ThreadPoolExecutor(50) as pool:
        won = list(pool.map(lambda number: ground.add("claims/x", str(number).encode()), range(50)))

    assert Counter(won) == {True: 1, False: 49}
    assert ground.read("claims/x") == str(won.index(True)).encode()
    assert ground.names("claims") == ["claims/x"]
    assert ground.read("claims/y") is None


def test_of_fifty_promotions_at_once_one_moves_the_champion(root: Path, tmp_path: Path) -> None:
    versions(root, tmp_path / "out", 3)
    promote(root, NAME, "1", expected=NOBODY)

    def attempt(number: int) -> str:
        try:
            return promote(root, NAME, str(2 + number % 2), expected="1").version
        except OutrunError:
            return "outrun"

    with ThreadPoolExecutor(10) as pool:
        found = Counter(pool.map(attempt, range(50)))

    log = moves(shelf(root), NAME)
    assert [entry.before for entry in log] == ["", "1"]
    winner = log[-1].version
    assert set(found) == {winner, "outrun"}  # those who wanted the winner too have got what they wanted
    assert {**aliases(root), "challenger": "3"} == {"champion": winner, "previous": "1", "challenger": "3"}


def test_each_move_says_who_and_why_and_holds_the_hash_of_the_one_before(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions(root, tmp_path / "out", 2)
    monkeypatch.setenv("MMGEN_ACTOR", "ann")
    promote(root, NAME, "1")
    move(root, NAME, "2", "gate", "better by 0.1", expected="1")
    rollback(root, NAME)

    log = moves(shelf(root), NAME)

    assert [(entry.action, entry.before, entry.version) for entry in log] == [
        ("promote", "", "1"),
        ("gate", "1", "2"),
        ("rollback", "2", "1"),
    ]
    assert [entry.by for entry in log] == ["ann"] * 3
    assert (log[1].reason, log[1].run_key) == ("better by 0.1", small_run(root, 2).keys.run_key)
    assert [entry.previous for entry in log] == ["", log[0].digest(), log[1].digest()]


@pytest.mark.parametrize("damage", ["altered", "removed", "cut"])
def test_a_log_that_was_changed_stops_every_promotion(root: Path, tmp_path: Path, damage: str) -> None:
    versions(root, tmp_path / "out", 3)
    for version in "123":
        promote(root, NAME, version)
    second = root / "shelf" / "promotions" / NAME / "000002"
    content = second.read_bytes()
    second.unlink()
    if damage != "removed":
        second.write_bytes(content.replace(b'"by hand"', b'"by fate"') if damage == "altered" else content[:40])

    with pytest.raises(StorageError, match="restore"):
        rollback(root, NAME)

    assert aliases(root)["champion"] == "3"


def test_a_promotion_that_was_killed_before_the_aliases_is_finished_by_the_same_call(
    root: Path, tmp_path: Path
) -> None:
    versions(root, tmp_path / "out", 2)
    promote(root, NAME, "1")
    append(root, "2", before="1")
    assert aliases(root)["champion"] == "1"

    promote(root, NAME, "2", expected="1")

    assert aliases(root) == {"champion": "2", "previous": "1"}
    assert len(moves(shelf(root), NAME)) == 2


def test_one_who_wakes_up_late_does_not_bring_its_own_version_back(root: Path, tmp_path: Path) -> None:
    versions(root, tmp_path / "out", 2)
    append(root, "1", before="")  # moved, and then slept before the aliases followed
    promote(root, NAME, "2", expected="1")

    with connected(tracking_uri(root)) as client:
        settle(client, shelf(root), NAME)  # what the sleeper does when it wakes up

    assert aliases(root) == {"champion": "2", "previous": "1"}


def test_an_alias_that_was_set_by_hand_is_not_walked_over(root: Path, tmp_path: Path) -> None:
    versions(root, tmp_path / "out", 3)
    promote(root, NAME, "1")
    with connected(tracking_uri(root)) as client:
        client.set_registered_model_alias(NAME, "champion", "3")

    with pytest.raises(
        TrackingError, match="champion of mmgen-emoji is version 3, by the log of promotions it is vers"
    ):
        promote(root, NAME, "2")


def test_a_verdict_about_another_champion_does_not_promote_and_is_thrown_away(root: Path) -> None:
    first, second = small_run(root, 1), small_run(root, 2)
    progress = choose(None, sys.stderr)
    for run in (first, second):
        make_trained(run, shade=int(run.keys.run_key[:4]))  # both against nobody: they ran at the same time
    register_stage(first, progress)

    with pytest.raises(OutrunError, match=r"is version 1, not nobody as was expected: .* run again"):
        register_stage(second, progress)

    assert aliases(root) == {"champion": "1"}
    assert not second.folder("gate").exists()
    assert not second.folder("register").exists()
    make_trained(second, shade=2, champion="1")
    register_stage(second, progress)
    assert aliases(root) == {"champion": "2", "previous": "1"}
    assert len(history(root, NAME)) == 2


def test_a_dry_run_says_what_would_be_and_changes_nothing(root: Path, tmp_path: Path) -> None:
    versions(root, tmp_path / "out", 2)
    promote(root, NAME, "1")
    promote(root, NAME, "2")
    before = aliases(root), moves(shelf(root), NAME)

    assert rollback(root, NAME, dry_run=True).version == "1"
    assert promote(root, NAME, "1", dry_run=True).version == "1"

    assert (aliases(root), moves(shelf(root), NAME)) == before


def test_what_the_gate_did_not_promote_needs_approval(root: Path, tmp_path: Path) -> None:
    versions(root, tmp_path / "out", 1)

    with pytest.raises(ConfigError, match=r"the gate said 'inconclusive' of mmgen-emoji version 1; .* --approve"):
        check_verdict(root, NAME, "1")

    with connected(tracking_uri(root)) as client:
        assert holder(client, NAME, "champion") is None
        client.set_model_version_tag(NAME, "1", "mmgen.verdict", "promote")
    check_verdict(root, NAME, "1")


def test_a_champion_that_keeps_changing_is_given_up_on(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions(root, tmp_path / "out", 2)
    promote(root, NAME, "1")
    monkeypatch.setattr(concurrent_writes, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(champions, "holder", lambda *_: "2")  # somebody else always sets it right after us

    with connected(tracking_uri(root)) as client, pytest.raises(TrackingError, match="keeps changing"):
        settle(client, shelf(root), NAME)
