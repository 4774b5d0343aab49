"""A stand-in for the API server of Kubeflow Pipelines, since the real one needs a cluster and a database.

It speaks the REST paths of v2beta1 that our client uses, over HTTP, and every body goes through the models of
`kfp_server_api`, those that the real client reads and writes: an unknown field or a wrong type is refused with 400.
What it is stricter in than the real one: a cron line must have six fields (the real one takes five and reads them
otherwise), a run's parameters must be those of its pipeline. An uploaded pipeline is read by KFP's own loader.

What it does not check: permissions, quotas, storage, whether an image can be pulled, anything that Argo or Kubernetes
would say. It starts no pods. Told to, it runs a submitted pipeline by KFP's own local runner in a child process, so
that states come from real stages. What it answers beside the models follows the server's source, 2.17.0:

- a pipeline belongs to a namespace or to all, and a list has those of the namespace it names only;
- task details have an entry for each Argo node, and the v1beta1 API has the workflow itself (`argo.py` beside it);
- a log is answered with 200 before it is looked for; what is not there is an error in JSON behind it;
- a recurring run owns the workflows that it has started: they are deleted with it, unless orphans are asked for and
  known (since 2.17), and a run without its workflow keeps its state for ever;
- such a run cannot be stopped: it is marked as canceling, and the answer is an error.
"""

from __future__ import annotations

import datetime
import email.parser
import email.policy
import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import kfp_server_api as models
import yaml
from kfp import components

from mmgen.ops.runs.keys import STAGES
from tests.support.cluster import argo
from tests.support.whole_run import ROOT

Reply = tuple[int, Any]
PREFIX = "/apis/v2beta1"


class Refusal(Exception):  # noqa: N818 (an answer, not an error of the tests)
    """An answer other than 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class StandIn:
    """The server: what it holds can be read and changed by a test."""

    def __init__(self) -> None:
        self.experiments: dict[str, dict[str, Any]] = {}
        self.pipelines: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.recurring: dict[str, dict[str, Any]] = {}
        self.workflows: dict[str, dict[str, Any]] = {}
        """Of each run: its Argo workflow as Kubeflow has seen it last."""
        self.deleted: set[str] = set()
        """Runs whose workflow is no longer in the cluster."""
        self.logs: dict[str, str] = {}
        """By the name of a pod that is there, or the id of a node whose log is kept."""
        self.knows_orphans = True
        """Whether it is 2.17 or newer."""
        self.specs: dict[str, Any] = {}
        self.seen: list[tuple[str, str, str]] = []
        """Method, path and Authorization of every request."""
        self.fail: list[int] = []
        """Status codes of the next answers."""
        self.token = ""
        """What every request must bring, when set."""
        self.slow = 0.0
        """Seconds before each answer."""
        self.multi_user = False
        self.meet: list[threading.Barrier] = []
        """Where the next lists of runs wait for each other: nobody is answered before all have asked."""
        self.executes: Path | None = None
        """Folder for the work of KFP's local runner; None where a run stays pending."""
        self.code = ROOT
        """What the pods' image holds: the clone whose code a run executes."""
        self.children: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self._client = models.ApiClient()

    def __enter__(self) -> StandIn:
        handler = type("Handler", (_Handler,), {"api": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._client.close()
        for child in self.children:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            if child.stdin is not None:
                child.stdin.close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def started(self) -> list[str]:
        """Names of the runs."""
        return [run["display_name"] for run in self.runs.values()]

    def seen_by_argo(self, run_id: str, stages: Mapping[str, Sequence[tuple[str, str]]], message: str = "") -> None:
        """Let the workflow of a run have these attempts at stages, by phase and message, and Kubeflow hear of it."""
        self.workflows[run_id] = argo.workflow(run_id, stages, message=message)
        self.runs[run_id]["run_details"] = {"task_details": argo.task_details(self.workflows[run_id])}

    def fire(self, recurring_run_id: str) -> dict[str, Any] | None:
        """A moment of a schedule: a run, unless it is disabled or one of its own is live."""
        schedule = self.recurring[recurring_run_id]
        own = [run for key, run in self.runs.items() if run.get("recurring_run_id") == recurring_run_id]
        live = [run for run in own if run["state"] == "RUNNING" and run["run_id"] not in self.deleted]
        if schedule["mode"] == "DISABLE" or len(live) >= int(schedule["max_concurrency"]):
            return None
        copied = ("experiment_id", "pipeline_version_reference", "runtime_config", "service_account")
        content = {key: schedule[key] for key in copied if key in schedule}
        name = f"mmgentrainemoji{recurring_run_id[:5]}-{len(own) + 1}-1"
        more = {"display_name": name, "state": "RUNNING", "recurring_run_id": recurring_run_id}
        return self._add(self.runs, "run_id", content | more, unique=False)

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes, headers: Any) -> Reply:
        self.seen.append((method, path, headers.get("Authorization", "")))
        time.sleep(self.slow)
        if self.meet and (method, path) == ("GET", f"{PREFIX}/runs"):
            self.meet.pop().wait(60)
        if self.fail:
            raise Refusal(self.fail.pop(0), "told to fail")
        if self.token and headers.get("Authorization") != f"Bearer {self.token}":
            raise Refusal(401, "Request header error: there is no user identity header")
        with self._lock:
            for verb, pattern, what in ROUTES:
                if verb == method and (match := re.fullmatch(pattern, path)):
                    found = what(self, query, body, headers, *match.groups())
                    return 200, found
        raise Refusal(404, f"no such path: {method} {path}")

    def read(self, body: bytes, kind: str) -> dict[str, Any]:
        """A body, through the model that the real client uses."""
        content = json.loads(body)
        known = set(getattr(models, kind).attribute_map.values())
        if strange := sorted(content.keys() - known):
            raise Refusal(400, f"unknown field {strange[0]!r}")
        reply = type("Reply", (), {"data": body.decode()})
        try:
            model = self._client.deserialize(reply, kind)
        except (models.ApiException, ValueError, TypeError) as error:
            raise Refusal(400, str(error)) from error
        plain: dict[str, Any] = self._client.sanitize_for_serialization(model)
        return plain

    def healthz(self, *_: Any) -> Any:
        return {"multi_user": self.multi_user}

    def list_pipelines(self, query: dict[str, str], *_: Any) -> Any:
        asked = query.get("namespace", "") if self.multi_user else ""
        return {"pipelines": _chosen({k: v for k, v in self.pipelines.items() if v["namespace"] == asked}, query)}

    def create_pipeline(self, query: dict[str, str], body: bytes, *_: Any) -> Any:
        wanted = self.read(body, "V2beta1Pipeline")
        space = wanted.get("namespace", "") if self.multi_user else ""
        if any(
            (one["display_name"], one["namespace"]) == (wanted["display_name"], space)
            for one in self.pipelines.values()
        ):
            raise Refusal(409, f"The name {wanted['display_name']} already exists")
        return self._add(self.pipelines, "pipeline_id", {**wanted, "namespace": space}, unique=False)

    def list_versions(self, query: dict[str, str], body: bytes, headers: Any, pipeline: str) -> Any:
        mine = {key: one for key, one in self.versions.items() if one["pipeline_id"] == pipeline}
        return {"pipeline_versions": _chosen(mine, query)}

    def upload_version(self, query: dict[str, str], body: bytes, headers: Any) -> Any:
        if query["pipelineid"] not in self.pipelines:
            raise Refusal(404, f"Pipeline {query['pipelineid']} not found")
        spec = _pipeline_of(body, headers)
        return self._version(query["pipelineid"], query["name"], spec, query.get("description", ""))

    def list_experiments(self, query: dict[str, str], *_: Any) -> Any:
        return {"experiments": _chosen(self.experiments, query)}

    def create_experiment(self, query: dict[str, str], body: bytes, *_: Any) -> Any:
        return self._add(self.experiments, "experiment_id", self.read(body, "V2beta1Experiment"))

    def list_runs(self, query: dict[str, str], *_: Any) -> Any:
        return {"runs": _chosen(self.runs, query)}

    def get_run(self, query: dict[str, str], body: bytes, headers: Any, run: str) -> Any:
        if run not in self.runs:
            raise Refusal(404, f"Run {run} not found")
        return self.runs[run]

    def get_run_v1(self, query: dict[str, str], body: bytes, headers: Any, run: str) -> Any:
        self.get_run(query, body, headers, run)
        known = {"workflow_manifest": json.dumps(self.workflows[run])} if run in self.workflows else {}
        return {"run": {"id": run}, "pipeline_runtime": known}

    def create_run(self, query: dict[str, str], body: bytes, *_: Any) -> Any:
        wanted = self.read(body, "V2beta1Run")
        parameters = self._checked(wanted)
        made = self._add(self.runs, "run_id", {**wanted, "state": "PENDING"}, unique=False)
        if self.executes is not None:
            self._execute(
                made, parameters, self.specs[wanted["pipeline_version_reference"]["pipeline_version_id"]], self.executes
            )
        return made

    def terminate(self, query: dict[str, str], body: bytes, headers: Any, run: str) -> Any:
        found = self.get_run(query, body, headers, run)
        if run in self.deleted:
            found["state"] = "CANCELING"
            raise Refusal(500, f"Failed to terminate run {run} due to error terminating its workflow")
        found["state"] = "CANCELED"
        return {}

    def create_recurring(self, query: dict[str, str], body: bytes, *_: Any) -> Any:
        wanted = self.read(body, "V2beta1RecurringRun")
        self._checked(wanted)
        if len(wanted["trigger"]["cron_schedule"]["cron"].split()) != 6:
            raise Refusal(400, "The Cron string must have six fields")
        return self._add(self.recurring, "recurring_run_id", wanted, unique=False)

    def list_recurring(self, query: dict[str, str], *_: Any) -> Any:
        return {"recurringRuns": _chosen(self.recurring, query)}

    def get_recurring(self, query: dict[str, str], body: bytes, headers: Any, run: str) -> Any:
        if run not in self.recurring:
            raise Refusal(404, f"Recurring run {run} not found")
        return self.recurring[run]

    def disable_recurring(self, query: dict[str, str], body: bytes, headers: Any, run: str) -> Any:
        self.get_recurring(query, body, headers, run)["mode"] = "DISABLE"
        return {}

    def delete_recurring(self, query: dict[str, str], body: bytes, headers: Any, run: str) -> Any:
        self.get_recurring(query, body, headers, run)
        del self.recurring[run]
        if not (self.knows_orphans and query.get("propagation_policy") == "ORPHAN"):
            self.deleted |= {key for key, one in self.runs.items() if one.get("recurring_run_id") == run}
        return {}

    def log(self, query: dict[str, str], body: bytes, headers: Any, run: str, node: str) -> Any:
        self.get_run(query, body, headers, run)
        missing = {"error_message": f"Failed to read logs for run {run}", "error_details": "pods not found"}
        return self.logs[node] if node in self.logs else json.dumps(missing, separators=(",", ":"))

    def _add(self, where: dict[str, Any], key: str, content: dict[str, Any], unique: bool = True) -> dict[str, Any]:
        name = content["display_name"]
        if unique and any(other["display_name"] == name for other in where.values()):
            raise Refusal(409, f"The name {name} already exists")
        now = datetime.datetime.now(datetime.UTC).isoformat()
        made = str(uuid.uuid4())
        where[made] = {**content, key: made, "created_at": now}
        return where[made]

    def _version(self, pipeline: str, name: str, spec: Any, description: str) -> dict[str, Any]:
        if any(one["pipeline_id"] == pipeline and one["display_name"] == name for one in self.versions.values()):
            raise Refusal(409, f"The name {name} already exists")
        content = {"pipeline_id": pipeline, "display_name": name, "name": name, "description": description}
        made = self._add(self.versions, "pipeline_version_id", content, unique=False)
        self.specs[made["pipeline_version_id"]] = spec
        return made

    def _checked(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Parameters of a run, held against those of its pipeline."""
        if wanted["experiment_id"] not in self.experiments:
            raise Refusal(404, "Experiment not found")
        version = wanted["pipeline_version_reference"]["pipeline_version_id"]
        if version not in self.specs:
            raise Refusal(404, "Pipeline version not found")
        known = self.specs[version]["root"]["inputDefinitions"]["parameters"]
        parameters: dict[str, Any] = wanted["runtime_config"]["parameters"]
        if strange := sorted(parameters.keys() - known.keys()):
            raise Refusal(400, f"the pipeline has no parameter {strange[0]!r}")
        return parameters

    def _execute(self, run: dict[str, Any], parameters: dict[str, Any], spec: dict[str, Any], folder: Path) -> None:
        """Run the pipeline as the laptop does, and tell its states as the run's own."""
        folder.mkdir(parents=True, exist_ok=True)
        events = folder / f"{run['run_id']}.jsonl"
        with (folder / f"{run['run_id']}.log").open("wb") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "pipelines.local.run", run["run_id"], json.dumps(parameters)],
                stdin=subprocess.PIPE,  # it ends when this does
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self.code,  # it comes before PYTHONPATH
                env={**os.environ, **_environment(spec), "MMGEN_EVENTS": str(events), "PYTHONPATH": str(self.code)},
            )
        self.children.append(child)
        run["state"] = "RUNNING"
        threading.Thread(target=self._watch, args=(child, run, events), daemon=True).start()

    def _watch(self, child: subprocess.Popen[bytes], run: dict[str, Any], events: Path) -> None:
        phase_of = {"running": "Running", "ran": "Succeeded", "cached": "Succeeded", "failed": "Failed"}
        while True:
            ended = child.poll() is not None
            lines = events.read_text().splitlines() if events.exists() else []
            said = [json.loads(line) for line in lines]
            phases = {one["name"]: phase_of[one["state"]] for one in said if one.get("event") == "stage"}
            if phases:
                self.seen_by_argo(run["run_id"], {stage: [(phases[stage], "")] for stage in STAGES if stage in phases})
            for one in said:
                if "error" in one:
                    run["error"] = {"code": 2, "message": one["error"]["message"]}
            if ended:
                run["state"] = "SUCCEEDED" if child.returncode == 0 else "FAILED"
                return
            time.sleep(0.1)


def _environment(spec: dict[str, Any]) -> dict[str, str]:
    """Variables that every task of a pipeline is given."""
    executors = spec["deploymentSpec"]["executors"].values()
    return {entry["name"]: entry["value"] for executor in executors for entry in executor["container"].get("env", [])}


def _pipeline_of(body: bytes, headers: Any) -> Any:
    """The pipeline in an upload, as KFP's own loader takes it."""
    head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    (part,) = [
        part for part in message.iter_parts() if part.get_param("name", header="content-disposition") == "uploadfile"
    ]
    text = part.get_payload(decode=True).decode()
    try:
        components.load_component_from_text(text)
    except Exception as error:
        raise Refusal(400, f"Invalid pipeline: {error}") from error
    return next(yaml.safe_load_all(text))


def _chosen(where: dict[str, Any], query: dict[str, str]) -> list[Any]:
    """What a list asks for, newest first."""
    predicates = json.loads(query["filter"])["predicates"] if query.get("filter") else []
    found = list(where.values())[::-1]
    for predicate in predicates:
        if predicate["operation"] not in ("EQUALS", 1):
            raise Refusal(400, f"unknown operation {predicate['operation']!r}")
        found = [one for one in found if one.get(predicate["key"]) == predicate["stringValue"]]
    if query.get("experiment_id"):
        found = [one for one in found if one["experiment_id"] == query["experiment_id"]]
    return found[: int(query.get("page_size") or 10)]


ROUTES: list[tuple[str, str, Any]] = [
    ("GET", f"{PREFIX}/healthz", StandIn.healthz),
    ("GET", f"{PREFIX}/pipelines", StandIn.list_pipelines),
    ("POST", f"{PREFIX}/pipelines", StandIn.create_pipeline),
    ("POST", f"{PREFIX}/pipelines/upload_version", StandIn.upload_version),
    ("GET", f"{PREFIX}/pipelines/([^/:]+)/versions", StandIn.list_versions),
    ("GET", f"{PREFIX}/experiments", StandIn.list_experiments),
    ("POST", f"{PREFIX}/experiments", StandIn.create_experiment),
    ("GET", f"{PREFIX}/runs", StandIn.list_runs),
    ("POST", f"{PREFIX}/runs", StandIn.create_run),
    ("GET", f"{PREFIX}/runs/([^/:]+)", StandIn.get_run),
    ("POST", f"{PREFIX}/runs/([^/:]+):terminate", StandIn.terminate),
    ("GET", f"{PREFIX}/recurringruns", StandIn.list_recurring),
    ("POST", f"{PREFIX}/recurringruns", StandIn.create_recurring),
    ("GET", f"{PREFIX}/recurringruns/([^/:]+)", StandIn.get_recurring),
    ("POST", f"{PREFIX}/recurringruns/([^/:]+):disable", StandIn.disable_recurring),
    ("DELETE", f"{PREFIX}/recurringruns/([^/:]+)", StandIn.delete_recurring),
    ("GET", "/apis/v1beta1/runs/([^/:]+)", StandIn.get_run_v1),
    ("GET", "/apis/v1alpha1/runs/([^/]+)/nodes/([^/]+)/log", StandIn.log),
]


class _Handler(http.server.BaseHTTPRequestHandler):
    api: StandIn
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(parts.query))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            status, content = self.api.answer(self.command, parts.path, query, body, self.headers)
        except Refusal as refusal:
            status, content = refusal.status, {"code": refusal.status, "message": str(refusal)}
        answer = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if isinstance(content, str) else "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
        except OSError:  # a client that waits no longer
            self.close_connection = True

    do_GET = do_POST = do_DELETE = _serve

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
