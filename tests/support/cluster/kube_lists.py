"""A stand-in for the API server of Kubernetes: lists of workflows, pods and events of a namespace, by JSON over HTTP.

It knows no rights but those it is told to refuse, no watches and no other objects. The label and field selectors are
the two that our code uses, a label that is there and a label with a value.
"""

from __future__ import annotations

import http.server
import json
import threading
import urllib.parse
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

KINDS = {
    "/apis/argoproj.io/v1alpha1/namespaces/{}/workflows": "workflows",
    "/api/v1/namespaces/{}/pods": "pods",
    "/api/v1/namespaces/{}/events": "events",
}


class Kubernetes:
    """The server: what it holds can be changed by a test."""

    def __init__(self, folder: Path, namespace: str = "team") -> None:
        self.folder = folder
        self.objects: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS.values()}
        self.refuses: set[str] = set()
        """Kinds that we have no right to list."""
        self.asked: list[str] = []
        self._kinds = {path.format(namespace): kind for path, kind in KINDS.items()}

    def __enter__(self) -> Kubernetes:
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

    @property
    def config(self) -> str:
        """A file for KUBECONFIG, with the context `here`."""
        file = self.folder / "kubeconfig"
        server = f"http://127.0.0.1:{self._server.server_address[1]}"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": server}}],
            "users": [{"name": "me", "user": {"token": "a-token"}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        }
        file.write_text(yaml.safe_dump(content))
        return str(file)

    def has_workflow(self, *run_ids: str) -> None:
        """Let exactly these runs have a workflow."""
        self.objects["workflows"] = [{"metadata": {"labels": {"pipeline/runid": run_id}}} for run_id in run_ids]

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        kind = self._kinds.get(path)
        if kind is None:
            return 404, {"message": "not found"}
        self.asked.append(kind)
        if kind in self.refuses:
            return 403, {"message": f"{kind} is forbidden"}
        label, _, value = query.get("labelSelector", "").partition("=")
        items = [
            item
            for item in self.objects[kind]
            if not label
            or (item["metadata"]["labels"].get(label) == value if value else label in item["metadata"]["labels"])
        ]
        return 200, {"items": items}


class _Handler(http.server.BaseHTTPRequestHandler):
    api: Kubernetes

    def do_GET(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        status, content = self.api.answer(parts.path, dict(urllib.parse.parse_qsl(parts.query)))
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
