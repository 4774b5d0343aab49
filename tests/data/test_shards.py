"""Shards: the same samples give the same bytes; hostile tar files are refused by name."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from mmgen.data.shards import MAX_PART_BYTES, Sample, packed, read_shard, write_shards
from mmgen.errors import DataError

SAMPLES = [Sample(f"k{number}", {"txt": f"caption {number}".encode(), "json": b"{}"}) for number in range(5)]


def tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w") as file:
        for info, content in members:
            file.addfile(info, io.BytesIO(content))
    return path


def member(name: str, content: bytes = b"x", kind: bytes = tarfile.REGTYPE) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(content) if kind == tarfile.REGTYPE else 0
    if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        info.linkname = "/etc/passwd"
    return info, content


def test_samples_come_back_as_they_were_written(tmp_path: Path) -> None:
    shards = write_shards(tmp_path, "train", SAMPLES, per_shard=2)

    assert [(shard.file, shard.samples) for shard in shards] == [
        ("train-00000.tar", 2),
        ("train-00001.tar", 2),
        ("train-00002.tar", 1),
    ]
    assert [sample for shard in shards for sample in read_shard(tmp_path / shard.file, shard)] == SAMPLES


def test_bytes_depend_on_the_samples_alone(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    turned = [Sample(s.key, dict(reversed(s.parts.items()))) for s in reversed(SAMPLES)]

    first = write_shards(tmp_path / "a", "train", SAMPLES, per_shard=9)
    second = write_shards(tmp_path / "b", "train", turned, per_shard=9)

    assert first == second
    assert (tmp_path / "a" / "train-00000.tar").read_bytes() == (tmp_path / "b" / "train-00000.tar").read_bytes()


def test_members_carry_no_time_owner_or_odd_mode(tmp_path: Path) -> None:
    write_shards(tmp_path, "train", SAMPLES, per_shard=9)

    with tarfile.open(tmp_path / "train-00000.tar") as file:
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in file} == {(0, 0, 0, "", "", 0o644)}


HOSTILE = {
    "a path out of the folder": member("../k.txt"),
    "an absolute path": member("/k.txt"),
    "a folder in the name": member("a/k.txt"),
    "a backslash": member("a\\k.txt"),
    "no extension": member("k"),
    "two extensions": member("k.a.txt"),
    "a leading dash": member("-k.txt"),
    "a newline in the name": member("k\n.txt"),
    "letters of another script": member("ключ.txt"),
    "a name of 300 letters": member("k" * 300 + ".txt"),
    "a symbolic link": member("k.txt", kind=tarfile.SYMTYPE),
    "a hard link": member("k.txt", kind=tarfile.LNKTYPE),
    "a device": member("k.txt", kind=tarfile.CHRTYPE),
    "a pipe": member("k.txt", kind=tarfile.FIFOTYPE),
    "a folder": member("k.txt", kind=tarfile.DIRTYPE),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_members_are_refused(name: str, tmp_path: Path) -> None:
    path = tar(tmp_path / "train-00000.tar", member("good.txt"), HOSTILE[name])

    with pytest.raises(DataError, match=r"train-00000\.tar.*member") as caught:
        read_shard(path)

    assert str(caught.value).isprintable()


def test_a_member_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"member 'k\.txt' occurs twice"):
        read_shard(tar(tmp_path / "t.tar", member("k.txt", b"one"), member("k.txt", b"two")))


def test_a_member_that_claims_to_be_huge_is_refused_before_it_is_read(tmp_path: Path) -> None:
    info, _ = member("k.txt")
    info.size = MAX_PART_BYTES + 1
    path = tmp_path / "t.tar"
    path.write_bytes(info.tobuf() + bytes(1024))

    with pytest.raises(DataError, match=r"t\.tar"):
        read_shard(path)


@pytest.mark.parametrize("length", [1, 100, 512, 700, 1024, 2048, 5000])
def test_a_tar_cut_anywhere_is_refused(length: int, tmp_path: Path) -> None:
    shard = write_shards(tmp_path, "train", SAMPLES, per_shard=9)[0]
    path = tmp_path / shard.file
    path.write_bytes(path.read_bytes()[:length])

    with pytest.raises(DataError, match=r"train-00000\.tar"):
        read_shard(path)


def test_what_is_no_plain_file_is_refused_without_opening_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tar")
    (tmp_path / "link.tar").symlink_to("/etc/passwd")
    (tmp_path / "folder.tar").mkdir()
    (tmp_path / "empty.tar").touch()

    for name in ("pipe.tar", "link.tar", "folder.tar", "empty.tar", "absent.tar"):
        with pytest.raises(DataError, match=name):
            read_shard(tmp_path / name)


def test_what_a_reader_would_refuse_is_not_written(tmp_path: Path) -> None:
    refused = {
        "twice": [SAMPLES[0], SAMPLES[0]],
        "no samples": [],
        "has no parts": [Sample("k", {})],
        "want <key>": [Sample("../k", {"txt": b""})],
    }
    for message, samples in refused.items():
        with pytest.raises(DataError, match=message):
            write_shards(tmp_path, "train", samples, per_shard=9)
    with pytest.raises(DataError, match="split"):
        write_shards(tmp_path, "../train", SAMPLES, per_shard=9)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_json_part_that_is_no_object_is_refused(content: bytes) -> None:
    with pytest.raises(DataError, match="'k'"):
        Sample("k", {"json": content}).facts()


def test_shards_are_the_bytes_that_tarfile_writes() -> None:
    samples = [
        Sample(
            f"{'k' * (number * 7 % 79)}{number % 10}", {"json": b"{}", "png": bytes([number]) * (number * 97 % 2000)}
        )
        for number in range(60)
    ]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:", format=tarfile.USTAR_FORMAT) as made:
        for sample in samples:
            for extension, value in sample.parts.items():
                info = tarfile.TarInfo(f"{sample.key}.{extension}")
                info.size = len(value)
                made.addfile(info, io.BytesIO(value))

    assert packed(samples) == buffer.getvalue()
    assert packed([]) == bytes(tarfile.RECORDSIZE)
