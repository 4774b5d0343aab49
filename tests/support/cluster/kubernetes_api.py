"""A stand-in for the Kubernetes API server, which needs etcd: objects over HTTP, for the real Python client.

It holds the objects that it is given, such as those that kustomize renders, answers questions about rights from their
Roles and RoleBindings, and runs those parts of admission that `mmgen cluster check` is about: a pod's service account
has to be there, `restricted` is enforced where the namespace says so, and a MutatingAdmissionPolicy is applied: one
that changes lists by an ApplyConfiguration is refused in the words of Kubernetes 1.37.2, our own closes the root file
system of a container `main` whose /tmp is a volume. It does not read CEL: the evaluator of Kubernetes 1.37.2 was seen
to do so with our policy, and only a real server shows it again.

A Job ends at once, its pod with the log that the test has given. Nothing else of Kubernetes is here: no controllers, no
schemas, no watches.
"""

from __future__ import annotations

import copy
import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

Object = dict[str, Any]
ATOMIC = "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.containers[0]"
"""What the server says of an ApplyConfiguration that names a list such as capabilities.drop."""


class Refusal(Exception):  # noqa: N818 (an answer, not an error of the tests)
    """An answer other than 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Kubernetes:
    """The server: what it holds can be read and changed by a test."""

    def __init__(self, objects: Iterable[Object], namespace: str = "mmgen") -> None:
        self.namespace = namespace
        self.objects = [copy.deepcopy(thing) for thing in objects]
        self.kinds = {"trainer.kubeflow.org/v1alpha1": ["trainjobs", "trainingruntimes"]}
        """Kinds of operators, by their group and version."""
        self.forbidden: set[str] = set()
        """Plurals that whoever asks may not touch."""
        self.logs: dict[str, str] = {}
        """Of the pod of a Job, by the beginning of the Job's name."""
        self.waiting: Object = {}
        """Why the container of a Job's pod waits; it ends at once where this is empty."""
        self.seen: list[tuple[str, str, Object]] = []
        """Method, path and body of every request."""

    def __enter__(self) -> Kubernetes:
        handler = type("Handler", (_Handler,), {"api": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def kubeconfig(self, folder: Path) -> str:
        """Path of a file for KUBECONFIG that names this server."""
        host, port = self._server.server_address[:2]
        where = {"name": "here", "cluster": {"server": f"http://{host!s}:{port}"}}
        content = {
            "apiVersion": "v1", "kind": "Config", "clusters": [where], "users": [{"name": "me", "user": {}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}], "current-context": "here",
        }  # fmt: skip
        path = folder / "kubeconfig"
        path.write_text(yaml.safe_dump(content))
        return str(path)

    def find(self, kind: str, name: str) -> Object:
        """The object that it holds, to be changed."""
        return next(thing for thing in self.objects if (thing["kind"], thing["metadata"]["name"]) == (kind, name))

    def remove(self, kind: str, name: str) -> None:
        """Delete an object."""
        self.objects.remove(self.find(kind, name))

    def answer(self, method: str, path: str, query: Mapping[str, str], body: Object) -> Any:
        """The answer to a request, or a Refusal."""
        self.seen.append((method, path, body))
        parts = path.strip("/").split("/")
        if path.endswith("/subjectaccessreviews"):
            self._permit("subjectaccessreviews", method)
            return {"status": {"allowed": self.allowed(**body["spec"])}}
        if path == "/version":
            return {"gitVersion": "v1.37.2"}
        if path.endswith("/log"):
            return self.find("Pod", parts[-2])["log"]
        if parts[0] == "apis" and len(parts) == 3:
            group = f"{parts[1]}/{parts[2]}"
            if group not in self.kinds:
                raise Refusal(404, "the server could not find the requested resource")
            return {"resources": [{"name": plural} for plural in self.kinds[group]]}
        rest = parts[2:] if parts[0] == "api" else parts[3:]
        if rest[0] == "namespaces" and len(rest) > 2:
            rest = rest[2:]
        plural, name = rest[0], rest[1] if len(rest) > 1 else ""
        self._permit(plural, method)
        if method == "POST":
            return self._create(plural, body, dry_run="dryRun" in query)
        found = [thing for thing in self.objects if _plural(thing["kind"]) == plural]
        if not name:
            selector = dict(pair.split("=") for pair in query.get("labelSelector", "").split(",") if pair)
            return {
                "items": [
                    thing for thing in found if selector.items() <= (thing["metadata"].get("labels") or {}).items()
                ]
            }
        thing = next((thing for thing in found if thing["metadata"]["name"] == name), None)
        if thing is None:
            raise Refusal(404, f'{plural} "{name}" not found')
        if method == "DELETE":
            self.objects.remove(thing)
        return thing

    def allowed(self, user: str, groups: list[str], resourceAttributes: Mapping[str, str]) -> bool:
        """Whether the Roles of the namespace grant something to a service account."""
        account, asked = user.rpartition(":")[2], resourceAttributes
        return any(
            asked["group"] in rule["apiGroups"]
            and asked["resource"] in rule["resources"]
            and asked["verb"] in rule["verbs"]
            and ("resourceNames" not in rule or asked["name"] in rule["resourceNames"])
            for binding in self.objects
            if binding["kind"] == "RoleBinding"
            and any((one["kind"], one["name"]) == ("ServiceAccount", account) for one in binding["subjects"])
            for rule in self.find("Role", binding["roleRef"]["name"])["rules"]
        )

    def _permit(self, plural: str, method: str) -> None:
        if plural in self.forbidden:
            verb = {"GET": "get", "POST": "create", "DELETE": "delete"}[method]
            raise Refusal(403, f'{plural} is forbidden: User "me" cannot {verb} resource "{plural}" in API group ""')

    def _create(self, plural: str, body: Object, *, dry_run: bool) -> Object:
        made = copy.deepcopy(body)
        if plural == "pods":
            self._admit(made)
        if plural == "jobs":
            self._start(made)
        if not dry_run:
            self.objects.append(made)
        return made

    def _admit(self, pod: Object) -> None:
        """What a server does to a pod before it is stored."""
        account = pod["spec"]["serviceAccountName"]
        if not any((one["kind"], one["metadata"]["name"]) == ("ServiceAccount", account) for one in self.objects):
            raise Refusal(403, f'pods "x" is forbidden: error looking up service account mmgen/{account}: not found')
        for policy in self.objects:
            if policy["kind"] == "MutatingAdmissionPolicy":
                self._mutate(policy, pod)
        if self.find("Namespace", self.namespace)["metadata"]["labels"].get(ENFORCE) == "restricted":
            for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
                own = container.get("securityContext", {})
                if own.get("capabilities", {}).get("drop") != ["ALL"] or not own.get("runAsNonRoot"):
                    raise Refusal(403, f'pods "x" is forbidden: violates PodSecurity "restricted": {container["name"]}')

    def _mutate(self, policy: Object, pod: Object) -> None:
        for mutation in policy["spec"]["mutations"]:
            if "capabilities" in mutation.get("applyConfiguration", {}).get("expression", ""):
                raise Refusal(500, f"policy '{policy['metadata']['name']}' denied request: {ATOMIC}")
            for container in pod["spec"]["containers"]:
                closes = "matchConditions" not in policy["spec"] or any(
                    mount["mountPath"] == "/tmp" for mount in container.get("volumeMounts", [])
                )
                if container["name"] == "main" and closes:
                    container["securityContext"]["readOnlyRootFilesystem"] = True

    def _start(self, job: Object) -> None:
        """The pod of a Job, which has ended, or waits for ever."""
        name = job["metadata"]["name"]
        template = job["spec"]["template"]
        self._admit({"spec": copy.deepcopy(template["spec"])})
        pod = {
            "kind": "Pod",
            "metadata": {"name": f"{name}-pod", "labels": {**template["metadata"]["labels"], "job-name": name}},
            "log": next((log for start, log in self.logs.items() if name.startswith(start)), ""),
            "status": {"phase": "Succeeded"},
        }
        if self.waiting:
            pod["status"] = {"phase": "Pending", "containerStatuses": [{"state": {"waiting": self.waiting}}]}
        self.objects.append(pod)


ENFORCE = "pod-security.kubernetes.io/enforce"


def _plural(kind: str) -> str:
    lower = kind.lower()
    return f"{lower[:-1]}ies" if lower.endswith("y") else lower if lower.endswith("s") else f"{lower}s"


class _Handler(http.server.BaseHTTPRequestHandler):
    api: Kubernetes
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # an answer in one piece, or each waits for the acknowledgement of its head

    def _serve(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        query = dict(urllib.parse.parse_qsl(parts.query))
        try:
            status, content = 200, self.api.answer(self.command, parts.path, query, json.loads(body or b"{}"))
        except Refusal as refusal:
            status, content = refusal.status, {"kind": "Status", "code": refusal.status, "message": str(refusal)}
        answer = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(content, str) else "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_DELETE = _serve

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
