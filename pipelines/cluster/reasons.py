"""Why a run failed or does not start, from what Argo and Kubernetes say of its pods: a line each, with a way out.

Nothing here asks anybody. The JSON comes from Kubeflow (`Cluster.workflow`: an Argo node repeats what its pod waits for
or ended with) and, where it can be asked, from Kubernetes (`pipelines/cluster/objects.py`: pods and their events, which
also know what happens before a container starts).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mmgen.ops.distributed import cluster_names
from mmgen.ops.runs.keys import STAGES
from pipelines.cluster.runs import Node, Workflow, line, nodes, stage_of

KINDS: tuple[tuple[str, str, str], ...] = (
    (
        "image",
        r"ImagePullBackOff|ErrImagePull|InvalidImageName|ErrImageNeverPull|ImageInspectError|[Bb]ack-off pulling image",
        "check the image and its digest (--image), and that the service account names the registry's pull secret",
    ),
    (
        "account",
        r"service ?account .*not found",
        f"make the account (k8s/ has {cluster_names.RUNNER}) or name another one by --service-account",
    ),
    (
        "configuration",
        r"CreateContainerConfigError|(secret|configmap) \S+ not found|couldn't find key|MountVolume\.SetUp failed",
        "make the Secret or ConfigMap that it names, as k8s/ has it",
    ),
    (
        "quota",
        r"exceeded quota|must specify (limits|requests|cpu|memory)",
        "it starts when other pods have ended; else raise the ResourceQuota or take a smaller --profile",
    ),
    (
        "nodes",
        r"Unschedulable|nodes are available|Insufficient (cpu|memory|nvidia)",
        "free or add a node that has what the task asks for, or take a smaller --profile",
    ),
    (
        "policy",
        r"violates PodSecurity|denied the request|admission webhook|ValidatingAdmissionPolicy|MutatingAdmissionPolicy",
        "the namespace refuses such a pod: compare its pod security label and its admission policies with k8s/",
    ),
    (
        "rights",
        r"is forbidden|cannot (get|list|create|patch|update|delete) resource",
        "give the account of the run's pods the role that k8s/ has for it",
    ),
    (
        "memory",
        r"OOMKilled|OutOfMemory",
        "it needs more memory than its limit: take a larger --profile or smaller batches",
    ),
    (
        "gone",
        r"Evicted|Preempt|pod deleted|Shutdown|NodeLost|Node.* is (shutting|not ready)",
        "its node was taken away; the task is started again and goes on from its last checkpoint",
    ),
    (
        "killed",
        r"exit code 137|exit status 137|signal: killed",
        "it was killed from outside, mostly for memory: see the node's events",
    ),
    ("cancelled", r"Stopped with strategy|exceeded workflow deadline|exceeded its deadline", "it was cancelled"),
    ("start", r"StartError|ContainerCannotRun|RunContainerError|CrashLoopBackOff", "check command and image"),
    ("ended", r"exit code -?\d+", "see: {logs}"),
)
"""What is told apart, by what is said, and the way out; the first that fits counts."""

LAST = 20
"""Lines at the end of a log that are looked at."""
QUIET = ("PodInitializing", "ContainerCreating", "Completed")
"""What a container waits for, or ended as, when nothing is wrong."""
OPEN = ("Pending", "Failed", "Error")
"""Phases of a node whose message tells why."""
GLOG = re.compile(r"[IWEF]\d{4} \d\d:\d\d:\d\d|time=\"?\d{4}-|\[KFP |Error: exit status \d+$")
"""How Kubeflow's and Argo's own lines begin."""
FATAL = re.compile(r"F\d{4} [^\]]*\] KFP driver: (?:.* failed: )?(.*)")
"""What Kubeflow's driver says when it gives up, which no program of ours has run for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """Why a stage does not go on."""

    stage: str
    kind: str
    text: str
    """What was said."""
    way_out: str

    def __str__(self) -> str:
        return f"{self.stage}: {self.text}; {self.way_out}" if self.way_out else f"{self.stage}: {self.text}"


def reasons(
    run_name: str,
    stages: Mapping[str, str],
    workflow: Workflow,
    pods: Sequence[Mapping[str, Any]] = (),
    events: Sequence[Mapping[str, Any]] = (),
) -> list[Reason]:
    """Why stages failed or wait, one reason of a kind each; none of a stage that has succeeded.

    Args:
        run_name: Of the run, for the way out.
        stages: State of each stage.
        workflow: Of the run, empty where it is not known.
        pods: Of the run, where Kubernetes can be asked.
        events: Warnings of the namespace, where Kubernetes can be asked.
    """
    said = [*_of_nodes(nodes(workflow)), *_of_pods(pods), *_of_events(pods, events, workflow)]
    if not said and (message := (workflow.get("status") or {}).get("message")):
        said = [("pipeline", str(message))]
    found: dict[tuple[str, str], Reason] = {}
    for stage, text in said:
        if stages.get(stage) != "SUCCEEDED":
            kind, way_out = _kind(text)
            way_out = way_out.format(logs=f"mmgen logs {run_name}" + (f" --stage {stage}" if stage in STAGES else ""))
            found.setdefault((stage, kind), Reason(stage=stage, kind=kind, text=line(text), way_out=way_out))
    # What killed a pod, or keeps it from starting, says more than the exit code that follows from it.
    told = {stage for stage, kind in found if kind != "ended"}
    return [reason for (stage, kind), reason in found.items() if kind != "ended" or stage not in told]


def with_last_words(reason: Reason, log: str) -> Reason:
    """A reason that is only an exit code, with what the program said last; the others as they are."""
    own = [text for text in log.splitlines() if text.strip() and not GLOG.match(text)]
    fatal = [found[1] for text in log.splitlines() if (found := FATAL.match(text))]
    if reason.kind != "ended" or not own + fatal:
        return reason
    kind, way_out = _kind(" ".join(log.splitlines()[-LAST:]))
    if kind != "killed":  # Kubeflow's launcher ends with 1 when it was only its child that was killed
        kind, way_out = reason.kind, reason.way_out
    ours = [text.partition(f"stage {reason.stage}: ")[2] for text in own if text.startswith("mmgen: ")]
    # Our own error says all; of another program its last line is the best guess.
    told = ours[-1] if ours and ours[-1] else f"{reason.text}: {[*own, *fatal][-1]}"
    return replace(reason, kind=kind, way_out=way_out, text=line(told))


def _kind(text: str) -> tuple[str, str]:
    return next(((kind, way_out) for kind, said, way_out in KINDS if re.search(said, text)), ("other", ""))


def _of_nodes(found: Iterable[Node]) -> Iterator[tuple[str, str]]:
    yield from ((node.stage, node.message) for node in found if node.phase in OPEN and node.message)


def _of_pods(pods: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for pod in pods:
        stage, status = _stage_of_pod(pod), pod.get("status") or {}
        if status.get("phase") == "Failed" and status.get("reason"):
            yield stage, f"{status['reason']}: {status.get('message') or ''}".rstrip(": ")
        for condition in status.get("conditions") or []:
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                yield stage, f"{condition.get('reason') or ''}: {condition.get('message') or ''}".strip(": ")
        for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
            name = container["name"]
            waiting = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") and waiting["reason"] not in QUIET:
                yield stage, f"{name}: {waiting['reason']}: {waiting.get('message') or ''}".rstrip(": ")
            for when in ("state", "lastState"):
                ended = (container.get(when) or {}).get("terminated") or {}
                if ended.get("exitCode"):
                    yield stage, f"{name}: {ended.get('reason') or 'Error'} (exit code {ended['exitCode']})"


def _of_events(
    pods: Sequence[Mapping[str, Any]], events: Sequence[Mapping[str, Any]], workflow: Workflow
) -> Iterator[tuple[str, str]]:
    """Warnings about the run's pods that are to start yet, about its workflow, and about pods that cannot be made."""
    names = {pod["metadata"]["name"]: _stage_of_pod(pod) for pod in pods if _starts(pod)}
    name = (workflow.get("metadata") or {}).get("name")
    for event in events:
        about = str((event.get("involvedObject") or {}).get("name") or "")
        failed = re.search(r"node (\S+):", str(event.get("message") or ""))
        stage = names.get(about) or (stage_of(failed[1] if failed else "") if name and about == name else None)
        text = f"{event.get('reason') or ''}: {event.get('message') or ''}".strip(": ")
        if stage and _kind(text)[0] not in ("other", "ended"):
            yield stage, text


def _stage_of_pod(pod: Mapping[str, Any]) -> str:
    notes = pod["metadata"].get("annotations") or {}
    return stage_of(str(notes.get("workflows.argoproj.io/node-name") or ""))


def _starts(pod: Mapping[str, Any]) -> bool:
    return (pod.get("status") or {}).get("phase") in (None, "Pending")
