"""Submit a run to the cluster, once: two concurrent submissions of the same run start one run.

Kubeflow has no key by which it would refuse a second run. So a run is named by its run key, whoever submits looks for
that name first, and of those who find none one wins a claim at the run's root, looks again and starts it; the others
wait for it to appear. A claim is never given back: its name holds the last dead run before it, and when its winner has
died without a run, the next claim of the same run is open after `PATIENCE` seconds.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmgen.errors import ConfigError, DataError, TrackingError
from mmgen.files import is_sealed, read_json
from mmgen.ops.distributed.cluster_names import RUNNER
from mmgen.ops.runs.run import Run, find_output
from mmgen.ops.stages import outputs
from mmgen.ops.stages.parameters import INTERRUPTED, plain
from mmgen.ops.storage.exclusive import shelf
from mmgen.ops.storage.roots import address
from pipelines.cluster.auth import ClusterError
from pipelines.cluster.client import Cluster, Version
from pipelines.cluster.form import Form
from pipelines.cluster.images import UNPUSHED, Images
from pipelines.cluster.profiles import NAMES as PROFILES
from pipelines.cluster.runs import DEAD, ENDED, ClusterRun
from pipelines.cluster.stale import judged
from pipelines.local.run import PipelineError

if TYPE_CHECKING:
    from mmgen.ops.registry.registry import ModelVersion

Claim = Callable[[str], bool]
"""Claim a name: True for the one who asked first, False for everybody after, for ever."""

PATIENCE = 60.0
"""Seconds after which a claim without a run is taken for that of a submitter who died."""
CLAIMS = 3
"""Submitters who may die one after the other."""
LONGEST_WAIT = 10.0
"""Seconds between two looks at a run that is waited for; the first ones follow sooner."""
LOST_LOOKS = 6
"""Looks in a row that may fail before waiting is given up."""
LOOKS_UNTIL_DOUBT = 30
"""Of so many looks at a run that is waited for, one asks whether anything of it runs at all."""
PROFILE = PROFILES[0]
"""Unless another one is asked for."""
FAILED = 1
"""Exit code of a run of which nothing more is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What the pods are told."""

    run: Run
    root: str
    """Root of the runs as the pods see it."""
    data: str
    """Folder of the data sets as the pods see it."""
    promote: bool
    images: Images = UNPUSHED
    """What the tasks run in; their digests are part of the run key, so the run was opened under them."""
    profile: str = PROFILE
    """What the tasks may use of the cluster."""
    service_account: str = RUNNER
    """Under which the pods run."""

    @property
    def name(self) -> str:
        """Name of the run on the cluster."""
        return f"{self.run.recipe.name}-{self.run.keys.run_key}"

    @property
    def parameters(self) -> dict[str, Any]:
        """Of the pipeline.

        Raises:
            ConfigError: a character that Kubeflow or a shell could take for more than text.
        """
        settings = "; ".join(self.run.settings)
        plain(self.run.recipe.name, settings, self.root, self.data)
        return {
            "recipe": self.run.recipe.name,
            "settings": settings,
            "root": self.root,
            "data": self.data,
            "promote": self.promote,
        }


def request(
    run: Run,
    promote: bool,
    images: Images,
    profile: str = PROFILE,
    cluster_root: str | None = None,
    cluster_data: str | None = None,
    service_account: str | None = None,
) -> Request:
    """A request; where the pods see root and data elsewhere or run as others, arguments or environment say so."""
    return Request(
        images=images,
        profile=profile,
        run=run,
        root=cluster_root or os.environ.get("MMGEN_CLUSTER_ROOT") or address(run.root),
        data=cluster_data or os.environ.get("MMGEN_CLUSTER_DATA") or address(run.data_root),
        promote=promote,
        service_account=service_account or os.environ.get("MMGEN_SERVICE_ACCOUNT") or RUNNER,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Submitted:
    """The result of a submission."""

    run: ClusterRun | None
    """None where the model is there already and no run of the cluster made it."""
    started: bool


def submit(cluster: Cluster, request: Request, *, if_new: bool, claim: Claim) -> Submitted:
    """Start a run; with `if_new` only when none of the same run key is live or has succeeded.

    Raises:
        ClusterError: the server refuses, or somebody else's submission does not end.
    """
    if not if_new:
        return Submitted(run=_start(cluster, request, cluster.upload(content(request))), started=True)
    runs = judged(cluster, cluster.runs(request.name))
    if good := [run for run in runs if run.state not in DEAD]:
        return Submitted(run=good[0], started=False)
    if find_output(request.run, "register") is not None:
        return Submitted(run=None, started=False)
    version = cluster.upload(content(request))  # before the claim: between claim and start nothing takes long
    for attempt in range(CLAIMS):
        began = time.monotonic()
        if claim(f"{request.name}.{runs[0].run_id if runs else 'first'}.{attempt}"):
            if found := _good(cluster, request.name):
                return Submitted(run=found, started=False)
            if time.monotonic() - began < PATIENCE / 2:  # else somebody may be taking our place
                return Submitted(run=_start(cluster, request, version), started=True)
            continue
        while time.monotonic() < began + PATIENCE:
            if found := _good(cluster, request.name):
                return Submitted(run=found, started=False)
            time.sleep(1)
    raise ClusterError(f"run {request.name!r} was claimed {CLAIMS} times and never started; try again")


def claims(root: Path) -> Claim:
    """Claims at a root that every submitter sees, each written only once.

    Raises:
        StorageError: when a claim cannot be written.
    """
    ground = shelf(root)
    return lambda name: ground.add(f"claims/{name}", secrets.token_bytes(16))


def find(cluster: Cluster, wanted: str | None) -> ClusterRun:
    """The run with this id or name; without one, the newest.

    Raises:
        ConfigError: there is none.
    """
    runs = cluster.runs(wanted) or (cluster.runs() if wanted else [])
    for run in runs:
        if wanted is None or wanted in (run.name, run.run_id):
            return judged(cluster, [cluster.run(run.run_id)])[0]
    raise ConfigError(f"no run is called {wanted!r}; see: mmgen status" if wanted else "no run was submitted yet")


def follow(cluster: Cluster, run_id: str, say: Callable[[str, str], None]) -> ClusterRun:
    """Wait for the end of a run; `say(stage, state)` is told every change.

    Raises:
        ClusterError: the server cannot be asked any more. The run goes on.
    """
    told: dict[str, str] = {}
    pause, lost, looks = 1.0, 0, 0
    while True:
        looks += 1
        try:
            run, lost = cluster.run(run_id), 0
            if looks % LOOKS_UNTIL_DOUBT == 0:
                run = judged(cluster, [run])[0]
        except ClusterError:
            lost += 1
            if lost == LOST_LOOKS:
                raise
        else:
            for stage, state in run.stages.items():
                if told.get(stage) != state:
                    say(stage, state)
            told = run.stages
            if run.state in ENDED and run.state != "CANCELING":
                return run
        time.sleep(pause)
        pause = min(pause * 1.5, LONGEST_WAIT)


def decision(request: Request) -> str | None:
    """The gate's decision on a run that has succeeded; None where neither root nor registry can be asked from here."""
    if is_sealed(request.run.folder("gate")):
        return str(outputs.verdict(request.run)["decision"])
    version = registered(request.run)
    return version.tags.get("mmgen.verdict") if version else None


def registered(run: Run) -> ModelVersion | None:
    """The version that the team's tracker has of a run; None where no tracker is named or it cannot be asked."""
    from mmgen.ops.registry.registry import history, model_name
    from mmgen.ops.tracking.client import tracker

    if tracker()[1]:
        with contextlib.suppress(TrackingError):
            for version in history(run.root, model_name(run.recipe)):
                if version.tags.get("mmgen.run_key") == run.keys.run_key:
                    return version
    return None


def check_ended(run: ClusterRun, request: Request) -> None:
    """Raise the error of a run that did not succeed.

    Raises:
        PipelineError: with the exit code for it.
    """
    if run.state == "SUCCEEDED":
        return
    broken = [stage for stage, state in run.stages.items() if state == "FAILED"]
    where = f" in stage {broken[0]}" if broken else ""
    why = f": {run.error}" if run.error else ""
    exit_code = INTERRUPTED if run.state == "CANCELED" else FAILED
    if broken[:1] == ["validate"] and refused(request.run):
        exit_code = DataError.exit_code
    raise PipelineError(
        f"run {run.name!r} ended as {run.state}{where}{why}; see: mmgen logs {run.name}, {run.link}", exit_code
    )


def refused(run: Run) -> list[dict[str, Any]]:
    """The expectations that the data did not meet, as the stage left them; none where it did not refuse."""
    page = run.unfinished("validate") / "validation.json"
    if not page.is_file():
        return []
    found: Sequence[dict[str, Any]] = read_json(page)["expectations"]
    return [item for item in found if not item["success"]]


def _good(cluster: Cluster, name: str) -> ClusterRun | None:
    return next((run for run in judged(cluster, cluster.runs(name)) if run.state not in DEAD), None)


def _start(cluster: Cluster, request: Request, version: Version) -> ClusterRun:
    return cluster.start(request.name, version, request.parameters, request.service_account)


def content(request: Request) -> bytes:
    """The pipeline that is submitted: the one place where it is compiled for a cluster."""
    from pipelines.cluster.compile import compiled

    form = Form(root=request.root, data=request.data, promote=request.promote)
    return compiled(request.images, request.profile, form)
