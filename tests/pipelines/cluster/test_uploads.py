"""The pipeline on a server: found where it was uploaded, one version for each content, whoever uploads at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipelines.cluster.client import PIPELINE, SUBMITTED
from pipelines.cluster.compile import compiled
from pipelines.cluster.submit import claims, submit
from tests.support.cluster import kfp_api, submitting
from tests.support.cluster.kfp_api import StandIn
from tests.support.cluster.submitting import cluster_of, request_of

api = submitting.api
OTHER = compiled().replace(b"From a data set", b"From some data set")


def names(api: StandIn) -> list[str]:
    return [version["display_name"] for version in api.versions.values()]


@pytest.mark.parametrize("multi_user", [False, True])
def test_a_run_starts_from_a_pipeline_of_the_namespace_or_a_shared_one(
    api: StandIn, tmp_path: Path, multi_user: bool
) -> None:
    api.multi_user = multi_user
    cluster = cluster_of(api, KFP_NAMESPACE="team")

    for _ in range(2):
        submit(cluster, request_of(tmp_path), if_new=False, claim=claims(tmp_path))

    (pipeline,), (version,) = api.pipelines.values(), api.versions.values()
    assert pipeline["namespace"] == ("team" if multi_user else "")
    assert {run["pipeline_version_reference"]["pipeline_id"] for run in api.runs.values()} == {pipeline["pipeline_id"]}
    assert version["pipeline_id"] == pipeline["pipeline_id"]


def test_a_shared_pipeline_of_the_same_name_is_not_ours(api: StandIn) -> None:
    api.multi_user = True
    shared = api._add(api.pipelines, "pipeline_id", {"display_name": SUBMITTED, "namespace": ""})

    pipeline = cluster_of(api, KFP_NAMESPACE="team").upload(compiled()).pipeline_id

    assert pipeline != shared["pipeline_id"]


def test_what_people_find_in_the_pages_is_what_was_published_whatever_was_submitted_since(
    api: StandIn, tmp_path: Path
) -> None:
    cluster = cluster_of(api)
    published = cluster.upload(OTHER, pipeline=PIPELINE, version="abc123")

    submit(cluster, request_of(tmp_path), if_new=False, claim=claims(tmp_path))

    versions = [one for one in api.versions.values() if one["pipeline_id"] == published.pipeline_id]
    assert [one["display_name"] for one in versions] == ["abc123"]


def test_a_changed_pipeline_is_a_new_version(api: StandIn) -> None:
    cluster = cluster_of(api)
    first, again, changed = cluster.upload(compiled()), cluster.upload(compiled()), cluster.upload(OTHER)

    assert first == again
    assert (changed[0], changed[1] != first[1]) == (first[0], True)


def test_a_named_version_is_uploaded_once_and_never_changed(api: StandIn) -> None:
    cluster = cluster_of(api)
    first = cluster.upload(compiled(), pipeline="mmgen-train-gpu", version="abc123", description="Commit abc123.")
    again = cluster.upload(compiled(), pipeline="mmgen-train-gpu", version="abc123", description="Commit abc123.")
    other = [cluster.upload(OTHER, pipeline="mmgen-train-gpu", version="abc123") for _ in range(2)]

    assert first == again
    assert other[0] == other[1] != first
    assert names(api)[0] == "abc123"
    assert names(api)[1].startswith("abc123-")
    assert len(names(api)) == 2
    assert api.versions[first[1]]["description"].startswith("Commit abc123.")
    assert [one["display_name"] for one in api.pipelines.values()] == ["mmgen-train-gpu"]


def test_many_who_upload_at_once_get_one_pipeline_and_one_version(
    api: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each looks before any has made something: the answers of all but one are 409."""
    clusters, content = [cluster_of(api) for _ in range(4)], compiled()
    empty = iter([{"pipelines": []}] * 4)
    real = StandIn.list_pipelines
    routes = [
        (verb, path, (lambda *given: next(empty, None) or real(*given)) if what is real else what)
        for verb, path, what in kfp_api.ROUTES
    ]
    monkeypatch.setattr(kfp_api, "ROUTES", routes)

    with ThreadPoolExecutor(4) as pool:
        ids = set(pool.map(lambda cluster: cluster.upload(content), clusters))

    assert len(ids) == 1
    assert (len(api.pipelines), len(api.versions)) == (1, 1)
