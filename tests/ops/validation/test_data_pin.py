"""Freshly built data go into DVC's cache, if they are what `data.dvc` pins (real DVC, a clone of its own)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mmgen.ops.validation.data_pin import keep_in_cache


def dvc(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def clone(tiny_emoji: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone whose data were built but never seen by its DVC."""
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    dvc(tmp_path, "init", "-q")
    shutil.copytree(tiny_emoji, tmp_path / "data" / "emoji")
    dvc(tmp_path, "add", "-q", "data")
    pinned = (tmp_path / "data.dvc").read_text()
    shutil.rmtree(tmp_path / ".dvc" / "cache")
    assert "not in cache" in dvc(tmp_path, "status", "data.dvc")
    (tmp_path / "data.dvc").write_text(pinned)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_status_is_clean_after_a_fresh_build(clone: Path) -> None:
    assert keep_in_cache(Path("data"))

    assert "up to date" in dvc(clone, "status", "data.dvc")


def test_data_that_differ_from_the_pin_are_told_and_the_pin_stays(clone: Path) -> None:
    pinned = (clone / "data.dvc").read_bytes()
    (clone / "data" / "emoji" / "dataset.json").write_text("{}")

    assert not keep_in_cache(Path("data"))

    assert (clone / "data.dvc").read_bytes() == pinned


def test_nothing_happens_outside_a_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert keep_in_cache(Path("data"))
