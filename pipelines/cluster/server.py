"""The connection to a Kubeflow API server: who we are there, deadlines, and every error one line without a token."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mmgen.errors import ConfigError
from pipelines.cluster.auth import ClusterError, check_encrypted, credentials
from pipelines.cluster.runs import line

TIMEOUTS = (5, 20)
"""Seconds to connect and to wait for an answer; kfp.Client by itself waits for ever. What only reads is tried four
times."""


class Absent(Exception):  # noqa: N818 (an answer, not an error)
    """The server has no such thing, or no such path."""


class Server:
    """Kubeflow Pipelines at one address."""

    def __init__(self, endpoint: str, namespace: str, environment: Mapping[str, str]) -> None:
        """Connect.

        Raises:
            ConfigError: the address or the credentials are wrongly described.
            ClusterError: the server cannot be reached or refuses us.
        """
        self._endpoint = endpoint.rstrip("/")
        self._environment = environment
        who = credentials(environment)
        if who is not None:
            check_encrypted("KFP_ENDPOINT", endpoint, environment)
        elif not endpoint.startswith(("http://", "https://")):
            raise ConfigError(f"KFP_ENDPOINT {endpoint!r} is no address; give one such as https://host/pipeline")
        self._namespace = namespace or None
        with self.asking():
            from kfp import Client

            # Given a namespace, the client does not ask for the server's health by itself: it would try for 25 s.
            self._client = Client(host=self._endpoint, namespace=namespace or "-", credentials=who)
            self._client._context_setting["namespace"] = namespace
            self._api = self._client._run_api.api_client
            self._api.rest_client.request = _bounded(self._api.rest_client.request)
            health = self._client._healthz_api.healthz_service_get_healthz()
        if health.multi_user and not namespace:
            raise ConfigError(f"{self._endpoint} has several users; set KFP_NAMESPACE to the namespace of your profile")

    def get(self, path: str, parts: Mapping[str, str]) -> str:
        """The text of a path that the generated client lacks, or whose answer it would turn into something else."""
        with self.asking():
            try:
                answer = self._api.call_api(path, "GET", dict(parts), auth_settings=["Bearer"], _preload_content=False)
            except Exception as error:
                if getattr(error, "status", None) in (404, 405, 501):
                    raise Absent from None
                raise
            return bytes(answer.data).decode(errors="replace")

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Quiet, and every failure of the server one line without a token."""
        try:
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except Exception as error:
            status = getattr(error, "status", None)
            if isinstance(status, int):
                raise ClusterError(self._refusal(status, str(getattr(error, "body", "") or ""))) from None
            if type(error).__module__.startswith("urllib3."):
                raise ClusterError(
                    f"KFP_ENDPOINT {self._endpoint} cannot be reached ({type(error).__name__}); "
                    "check the address and try again"
                ) from None
            raise

    def _refusal(self, status: int, body: str) -> str:
        try:
            said = json.loads(body)
            reason = line(str(said.get("message") or said.get("error") or ""))
        except (ValueError, AttributeError):
            reason = line(body)
        if status == 401:
            return f"KFP_ENDPOINT {self._endpoint} refuses us (401); renew KFP_TOKEN_FILE or the OIDC client"
        if status == 403:
            return (
                f"KFP_ENDPOINT {self._endpoint} refuses us (403): {reason or 'no reason'}; renew KFP_TOKEN_FILE or the "
                "OIDC client, or give who it stands for the role mmgen-submitter"
            )
        way_out = "try again" if status >= 500 or status == 429 else "see: mmgen status"
        return f"KFP_ENDPOINT {self._endpoint} answered {status}: {reason or 'no reason'}; {way_out}"


@contextlib.contextmanager
def made_already() -> Iterator[None]:
    """Pass over the answer that somebody else has made it at the same moment."""
    try:
        yield
    except Exception as error:
        if getattr(error, "status", None) != 409:
            raise


def _bounded(request: Callable[..., Any]) -> Callable[..., Any]:
    """The client's request with a deadline."""

    def bounded(*arguments: Any, **options: Any) -> Any:
        return request(*arguments, **{**options, "_request_timeout": options.get("_request_timeout") or TIMEOUTS})

    return bounded
