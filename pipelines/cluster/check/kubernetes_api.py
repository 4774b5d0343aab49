"""The Kubernetes API as the checks use it: objects as dictionaries, by path, through the official client's connection.

The client's own classes know the fields of one version; a check shall read what a newer server says as well.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from mmgen.errors import ConfigError, one_line
from pipelines.cluster.auth import ClusterError

TIMEOUTS = (5, 20)
"""Seconds to connect and to wait for an answer."""


class Refused(Exception):  # noqa: N818  an answer, not a failure of ours
    """The server answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def forbidden(self) -> bool:
        """Whether whoever asks may not ask this."""
        return self.status in (401, 403)


class Kubernetes:
    """A cluster's API.

    Every method raises Refused for an answer that is an error, and ClusterError when there is no answer.
    """

    def __init__(self, client: Any) -> None:
        """Speak through a `kubernetes.client.ApiClient`."""
        self._client = client

    def get(self, path: str) -> dict[str, Any] | None:
        """The object at a path; None where there is none."""
        try:
            found: dict[str, Any] = self._call("GET", path)
            return found
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    def items(self, path: str, **query: str) -> list[dict[str, Any]]:
        """The objects of a list; none where its kind is unknown."""
        try:
            found = self._call("GET", path, query=query)
        except Refused as refused:
            if refused.status == 404:
                return []
            raise
        return list(found.get("items") or [])

    def create(self, path: str, body: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Create an object, or, in a dry run, see what would become of it."""
        made: dict[str, Any] = self._call("POST", path, body=body, query={"dryRun": "All"} if dry_run else {})
        return made

    def delete(self, path: str) -> None:
        """Delete an object and what it owns; none is no error."""
        try:
            self._call("DELETE", path, query={"propagationPolicy": "Background"})
        except Refused as refused:
            if refused.status != 404:
                raise

    def text(self, path: str) -> str:
        """A text, such as a log."""
        return str(self._call("GET", path, kind="str"))

    def _call(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None, kind: str = "object"
    ) -> Any:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return self._client.call_api(
                path,
                method,
                query_params=list((query or {}).items()),
                header_params={"Accept": "*/*", "Content-Type": "application/json"},
                body=body,
                response_type=kind,
                auth_settings=["BearerToken"],
                _return_http_data_only=True,
                _request_timeout=TIMEOUTS,
            )
        except ApiException as error:
            raise Refused(int(error.status or 0), _message(error)) from None
        except HTTPError as error:
            host = self._client.configuration.host
            raise ClusterError(
                f"Kubernetes at {host} does not answer ({type(error).__name__}); check KUBECONFIG and the network"
            ) from None


def connect(environment: Mapping[str, str] = os.environ) -> Kubernetes:
    """The cluster that KUBECONFIG, the usual file or the pod that this is names.

    Raises:
        ConfigError: none of them names one.
    """
    from kubernetes import client, config

    configuration = client.Configuration()
    try:
        try:
            config.load_kube_config(
                config_file=environment.get("KUBECONFIG") or None, client_configuration=configuration
            )
        except config.ConfigException:
            if environment.get("KUBECONFIG"):
                raise
            config.load_incluster_config(client_configuration=configuration)
    except (config.ConfigException, OSError) as error:
        raise ConfigError(
            f"no cluster of Kubernetes is named ({one_line(str(error), 200)}); set KUBECONFIG to a file that names one"
        ) from None
    return Kubernetes(client.ApiClient(configuration))


def _message(error: Any) -> str:
    """What the server says, of the Status that it answers with."""
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason)
