"""A team changes its data, and CI retrains: once, whoever asks at once; poisoned data leave the champion alone.

Real git, DVC on a real S3 server, real processes, the real pipeline at sizes that learn nothing, rules that such a
model can meet.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmgen.data.shards import Sample
from pipelines.cluster.images import UNPUSHED
from tests.support.cluster.kfp_api import StandIn
from tests.support.retraining import Team
from tests.support.s3_remote import KEYS, s3_remote


def fewer(splits: dict[str, list[Sample]]) -> None:
    """A good change: a sample is withdrawn."""
    splits["train"] = splits["train"][1:]


def poisoned(splits: dict[str, list[Sample]]) -> None:
    """A bad one: pictures of two samples are cut short."""
    for place in (3, 4):
        sample = splits["train"][place]
        parts = {name: part[:40] if name == "png" else part for name, part in sample.parts.items()}
        splits["train"][place] = dataclasses.replace(sample, parts=parts)


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """A DVC remote on S3."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with s3_remote(tmp_path / "s3", "data") as settings:
        yield settings


@pytest.mark.minutes
def test_changed_data_are_retrained_once_and_poisoned_data_leave_the_champion_alone(
    tiny_emoji: Path, tmp_path: Path, bucket: dict[str, str]
) -> None:
    team = Team(tmp_path, tiny_emoji, bucket)
    first = team.job("--no-promote")
    assert (first.returncode, first.facts["state"], first.facts["decision"]) == (0, "trained", "promote"), first.stderr
    assert first.facts["awaits_approval"]
    assert "promote, awaiting approval" in first.comment
    assert "| codec.psnr |" in first.comment
    assert team.champion() is None
    team.verb("promote", "1", "--approve")

    team.change(fewer, "withdraw a sample")
    both = [team.start("--no-promote") for _ in range(2)]
    jobs = [wait() for wait in both]

    assert sorted(job.facts["state"] for job in jobs) == ["nothing", "trained"], [job.stderr for job in jobs]
    assert {job.facts["model"]["version"] for job in jobs} == {"2"}
    assert len(list((team.root / "logs").glob("*.log"))) == 2  # one pipeline a version
    assert all("Against: champion version 1" in job.comment for job in jobs)
    assert team.champion() == "1"

    again = team.job("--no-promote")
    assert again.facts["state"] == "nothing"
    again.assert_it_only_looked()

    team.change(poisoned, "cut two pictures")
    bad = team.job("--no-promote")

    assert (bad.returncode, bad.facts["state"]) == (20, "refused"), bad.stderr
    assert "stopped, the data are refused" in bad.comment
    assert "**picture_readable**" in bad.comment
    assert "`train/" in bad.comment
    assert (bad.out / "validation.html").is_file()
    assert all(KEYS["AWS_SECRET_ACCESS_KEY"] not in job.comment + job.stderr for job in (first, *jobs, bad))
    assert team.champion() == "1"
    assert [version["version"] for version in team.verb("history")] == ["2", "1"]


@pytest.mark.minutes
def test_a_job_on_a_cluster_follows_the_run_and_bad_data_start_no_pod(tiny_emoji: Path, tmp_path: Path) -> None:
    """The stand-in runs what it gets by KFP's own local runner, so the states are those of real stages."""
    with StandIn() as api:
        team = Team(tmp_path, tiny_emoji)
        api.executes = tmp_path / "pods"
        api.code = team.clone
        cluster = {
            "KFP_ENDPOINT": api.endpoint,
            "MMGEN_CLUSTER_DATA": str(team.clone / "data"),
            "MMGEN_IMAGES": f"cpu={UNPUSHED.cpu} gpu={UNPUSHED.gpu}",
        }
        good = team.job("--no-promote", **cluster)
        runs = api.started()

        team.change(poisoned, "cut two pictures")
        bad = team.job("--no-promote", **cluster)

    assert (good.returncode, good.facts["state"]) == (0, "trained"), good.stderr
    assert good.facts["awaits_approval"]
    assert f"Run on the cluster: {api.endpoint}/#/runs/details/" in good.comment
    assert runs == [f"emoji-{good.facts['run_key']}"]
    assert (bad.returncode, bad.facts["state"], api.started()) == (20, "refused", runs), bad.stderr
    assert "**picture_readable**" in bad.comment
