"""A stand-in for the API server of Kubeflow Pipelines, since the real one needs a cluster and a database.

It speaks the REST paths of v2beta1 that our client uses, over HTTP, and every body goes through the models of
`kfp_server_api`, those that the real client reads and writes: an unknown field or a wrong type is refused with 400.
What it is stricter in than the real one: a cron line must have six fields (the real one takes five and reads them
otherwise), a run's parameters must be those of its pipeline. An uploaded pipeline is read by KFP's own loader.

What it does not check: permissions, quotas, storage, whether an image can be pulled, anything that Argo or Kubernetes
would say. It starts no pods. Told to, it runs a submitted pipeline by KFP's own local runner in a child process, so
that states come from real stages. The path of logs is the server's own (its `main.go`); the shape of the task details
of a real run is only known from the models.
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
from pathlib import Path
from types import TracebackType
from typing import Any

import kfp_server_api as models
import yaml
from kfp import components

from mmgen.ops.keys import STAGES
from tests.whole_run import ROOT

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
        return {"pipelines": _chosen(self.pipelines, query)}

    def list_versions(self, query: dict[str, str], body: bytes, headers: Any, pipeline: str) -> Any:
        mine = {key: one for key, one in self.versions.items() if one["pipeline_id"] == pipeline}
        return {"pipeline_versions": _chosen(mine, query)}

    def upload_pipeline(self, query: dict[str, str], body: bytes, headers: Any) -> Any:
        spec = _pipeline_of(body, headers)
        made = self._add(self.pipelines, "pipeline_id", {"display_name": query["name"], "name": query["name"]})
        self._version(made["pipeline_id"], query["name"], spec)
        return made

    def upload_version(self, query: dict[str, str], body: bytes, headers: Any) -> Any:
        if query["pipelineid"] not in self.pipelines:
            raise Refusal(404, f"Pipeline {query['pipelineid']} not found")
        return self._version(query["pipelineid"], query["name"], _pipeline_of(body, headers))

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
        self.get_run(query, body, headers, run)["state"] = "CANCELED"
        return {}

    def create_recurring(self, query: dict[str, str], body: bytes, *_: Any) -> Any:
        wanted = self.read(body, "V2beta1RecurringRun")
        self._checked(wanted)
        if len(wanted["trigger"]["cron_schedule"]["cron"].split()) != 6:
            raise Refusal(400, "The Cron string must have six fields")
        return self._add(self.recurring, "recurring_run_id", wanted, unique=False)

    def list_recurring(self, query: dict[str, str], *_: Any) -> Any:
        return {"recurringRuns": _chosen(self.recurring, query)}

    def delete_recurring(self, query: dict[str, str], body: bytes, headers: Any, run: str) -> Any:
        del self.recurring[run]
        return {}

    def log(self, query: dict[str, str], body: bytes, headers: Any, run: str, pod: str) -> Any:
        self.get_run(query, body, headers, run)
        return f"log of {pod}\n"

    def _add(self, where: dict[str, Any], key: str, content: dict[str, Any], unique: bool = True) -> dict[str, Any]:
        name = content["display_name"]
        if unique and any(other["display_name"] == name for other in where.values()):
            raise Refusal(409, f"The name {name} already exists")
        now = datetime.datetime.now(datetime.UTC).isoformat()
        made = str(uuid.uuid4())
        where[made] = {**content, key: made, "created_at": now}
        return where[made]

    def _version(self, pipeline: str, name: str, spec: Any) -> dict[str, Any]:
        if any(one["pipeline_id"] == pipeline and one["display_name"] == name for one in self.versions.values()):
            raise Refusal(409, f"The name {name} already exists")
        content = {"pipeline_id": pipeline, "display_name": name, "name": name}
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
        threading.Thread(target=_watch, args=(child, run, events), daemon=True).start()


def _environment(spec: dict[str, Any]) -> dict[str, str]:
    """Variables that every task of a pipeline is given."""
    executors = spec["deploymentSpec"]["executors"].values()
    return {entry["name"]: entry["value"] for executor in executors for entry in executor["container"].get("env", [])}


def _watch(child: subprocess.Popen[bytes], run: dict[str, Any], events: Path) -> None:
    state_of = {"running": "RUNNING", "ran": "SUCCEEDED", "cached": "SUCCEEDED", "failed": "FAILED"}
    while True:
        ended = child.poll() is not None
        lines = events.read_text().splitlines() if events.exists() else []
        said = [json.loads(line) for line in lines]
        states = {one["name"]: state_of[one["state"]] for one in said if one.get("event") == "stage"}
        run["run_details"] = {"task_details": [_task(stage, states[stage]) for stage in STAGES if stage in states]}
        for one in said:
            if "error" in one:
                run["error"] = {"code": 2, "message": one["error"]["message"]}
        if ended:
            run["state"] = "SUCCEEDED" if child.returncode == 0 else "FAILED"
            return
        time.sleep(0.1)


def _task(stage: str, state: str) -> dict[str, Any]:
    return {"display_name": stage, "state": state, "child_tasks": [{"pod_name": f"mmgen-{stage}-pod"}]}


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
        found = [one for one in found if one[predicate["key"]] == predicate["stringValue"]]
    if query.get("experiment_id"):
        found = [one for one in found if one["experiment_id"] == query["experiment_id"]]
    return found[: int(query.get("page_size") or 10)]


ROUTES: list[tuple[str, str, Any]] = [
    ("GET", f"{PREFIX}/healthz", StandIn.healthz),
    ("GET", f"{PREFIX}/pipelines", StandIn.list_pipelines),
    ("POST", f"{PREFIX}/pipelines/upload", StandIn.upload_pipeline),
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
    ("DELETE", f"{PREFIX}/recurringruns/([^/:]+)", StandIn.delete_recurring),
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
