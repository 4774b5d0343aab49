"""Parts of `mmgen cluster check` that need no cluster: profiles, network policies, and what cannot be reached."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import yaml

from mmgen.ops.distributed import trainjob
from mmgen.recipes import get
from pipelines.cluster.check import mlflow
from pipelines.cluster.check.bucket import bucket
from pipelines.cluster.check.networks import End, reachable
from pipelines.cluster.check.plugin import clashes
from pipelines.cluster.check.pods import environment
from pipelines.cluster.check.quota import needs, quantity
from pipelines.cluster.compile import compiled
from pipelines.cluster.profiles import NAMES, PROFILES
from tests.support.cluster.manifests import Object

COMPILED = functools.cache(compiled)
"""Compiling takes longer than all else here, and gives the same bytes each time."""


@pytest.mark.parametrize("profile", NAMES)
def test_no_profile_takes_a_variable_of_kubeflows_plugin_by_reference(profile: str) -> None:
    assert clashes(COMPILED(profile=profile)) == []


def test_the_pods_of_the_check_have_the_variables_of_a_task() -> None:
    _, platform = yaml.safe_load_all(COMPILED())
    executor = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-train"]

    pairs = [
        pair for source in ("configMapAsEnv", "secretAsEnv") for one in executor[source] for pair in one["keyToEnv"]
    ]
    assert {pair["envVar"] for pair in pairs} == {variable["name"] for variable in environment()}


@pytest.mark.parametrize("profile", NAMES)
def test_the_settings_of_a_profile_are_those_that_its_task_asks_for(profile: str) -> None:
    train = PROFILES[profile].stages["train"]
    training = get("emoji", [word for word in PROFILES[profile].settings.split("; ") if word]).training

    gpus = train.nodes * train.node_gpus if train.nodes > 1 else train.gpus
    assert training.device == ("cuda" if gpus else "cpu")
    assert training.processes == max(gpus, train.nodes)


def test_the_amounts_of_a_trainjob_are_those_that_its_manifest_asks_for() -> None:
    assert quantity(needs(PROFILES["nodes-cpu"].stages["train"])["requests.memory"]) == 2 * quantity(
        trainjob.CPU_NODE["memory"]
    )
    assert needs(PROFILES["nodes"].stages["train"])["requests.nvidia.com/gpu"] == "8"


def test_a_tracker_that_is_not_there_is_missing_in_a_pod_and_unknown_from_here() -> None:
    (inside_a_pod,) = mlflow.answers("http://127.0.0.1:9", inside=True)
    (from_here,) = mlflow.answers("http://127.0.0.1:9")

    assert (inside_a_pod.ok, from_here.ok) == (False, None)
    assert "network policies" in inside_a_pod.way_out


def test_a_store_that_only_pods_reach_is_unknown_from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")

    (from_here,) = bucket("s3://mmgen/runs")
    (in_a_pod,) = bucket("s3://mmgen/runs", inside=True)

    assert (from_here.ok, in_a_pod.ok) == (None, False)
    assert "check AWS_ENDPOINT_URL_S3" in from_here.way_out


RUN, OTHER = End(labels={"role": "run"}, namespace="a"), End(labels={"role": "other"}, namespace="b")
OUTSIDE = End(address="192.0.2.7")


def _policy(selector: Any, namespace: str = "a", **spec: Any) -> Object:
    return {"metadata": {"name": "p", "namespace": namespace}, "spec": {"podSelector": selector, **spec}}


def test_policies_are_read_as_kubernetes_defines_them() -> None:
    shut = _policy({}, policyTypes=["Ingress", "Egress"])
    to_other = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "b"}}}
    opened = _policy({"matchLabels": {"role": "run"}}, policyTypes=["Egress"], egress=[{"to": [to_other]}])
    ports = _policy({}, policyTypes=["Egress"], egress=[{"to": [to_other], "ports": [{"protocol": "TCP", "port": 80}]}])
    block = {"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.0/29"]}}
    outward = _policy({}, policyTypes=["Egress"], egress=[{"to": [block]}])

    assert reachable([], RUN, OTHER, 80)
    assert not reachable([shut], RUN, OTHER, 80)
    assert not reachable([shut], OTHER, RUN, 80)
    assert reachable([shut, opened], RUN, OTHER, 80)  # policies add to each other
    assert not reachable([shut, opened], End(labels={}, namespace="a"), OTHER, 80)
    assert not reachable([shut, opened], RUN, End(labels={}, namespace="c"), 80)
    assert reachable([shut, ports], RUN, OTHER, 80)
    assert not reachable([shut, ports], RUN, OTHER, 81)
    assert not reachable([shut, ports], RUN, OTHER, 80, "UDP")
    assert not reachable([shut, outward], RUN, OUTSIDE, 80)  # of the exception
    assert reachable([shut, outward], RUN, End(address="192.0.2.77"), 80)
    assert not reachable([opened, _policy({}, "b", policyTypes=["Ingress"])], RUN, OTHER, 80)  # both ends have a say
    assert reachable([_policy({}, egress=[{}])], RUN, OTHER, 80)  # a rule without peers is for all
