"""Authentication at a Kubeflow API server: a token in a file, or OIDC client credentials. Never in argv or logs.

The first of these that is there counts:

KFP_TOKEN_FILE              a mounted token, such as a service account's; read anew for every request, since
                            whoever mounts it renews it
KFP_OIDC_TOKEN_URL          an identity provider's token endpoint, with KFP_OIDC_CLIENT_ID, KFP_OIDC_CLIENT_SECRET
                            (or KFP_OIDC_CLIENT_SECRET_FILE) and, where it wants them, KFP_OIDC_SCOPE and
                            KFP_OIDC_AUDIENCE; asked again shortly before a token expires
KF_PIPELINES_SA_TOKEN_PATH  the token that Kubeflow mounts into its notebooks; also found without the variable, at
                            /var/run/secrets/kubeflow/pipelines/token
"""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from mmgen.errors import ConfigError, MmgenError

TIMEOUT_SECONDS = 15.0
EARLY_SECONDS = 30.0
"""A token is renewed this long before it expires, so that none expires on its way."""
LARGEST = 1 << 20
"""Bytes of an identity provider's answer that are read."""
NOTEBOOK_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")
"""Where Kubeflow mounts the token of its notebooks, unless KF_PIPELINES_SA_TOKEN_PATH names another place."""


class ClusterError(MmgenError):
    """The Kubeflow API server, or the identity provider in front of it, cannot be used."""

    exit_code = 40


class Credentials(Protocol):
    """What kfp.Client asks before every request."""

    def refresh_api_key_hook(self, config: Any) -> None:
        """Put a valid token into `config.api_key["authorization"]`."""


class TokenFile:
    """A token in a file that another process renews."""

    def __init__(self, path: Path, variable: str) -> None:
        self._path = path
        self._variable = variable

    def refresh_api_key_hook(self, config: Any) -> None:
        """Read the file again.

        Raises:
            ClusterError: it cannot be read or is empty.
        """
        config.api_key["authorization"] = _secret(self._path, self._variable)


class ClientCredentials:
    """Tokens from an identity provider, each kept until shortly before it expires."""

    def __init__(self, url: str, form: Mapping[str, str]) -> None:
        self._url = url
        self._form = dict(form)
        self._token = ""
        self._renew_at = 0.0

    def refresh_api_key_hook(self, config: Any) -> None:
        """Ask for a token unless the last one still holds.

        Raises:
            ClusterError: the identity provider refused or cannot be reached.
        """
        if time.monotonic() >= self._renew_at:
            self._token, lasts = self._ask()
            self._renew_at = time.monotonic() + lasts - EARLY_SECONDS
        config.api_key["authorization"] = self._token

    def _ask(self) -> tuple[str, float]:
        body = urllib.parse.urlencode({"grant_type": "client_credentials", **self._form}).encode()
        host = urllib.parse.urlsplit(self._url).netloc.rpartition("@")[2]
        try:
            with urllib.request.urlopen(self._url, body, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 (checked)
                found = json.loads(answer.read(LARGEST))
            return str(found["access_token"]), float(found.get("expires_in", 60))
        except urllib.error.HTTPError as error:
            error.close()
            raise ClusterError(
                f"the identity provider at {host} refused KFP_OIDC_CLIENT_ID ({error.code}); check id and secret"
            ) from None  # the answer could hold what was sent
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ClusterError(
                f"the identity provider at {host} gave no token ({type(error).__name__}); check KFP_OIDC_TOKEN_URL"
            ) from None


def credentials(environment: Mapping[str, str]) -> Credentials | None:
    """Credentials from the environment; None for a server without authentication.

    Raises:
        ConfigError: half of it is set, or a secret would travel unencrypted.
        ClusterError: a file with a secret cannot be read.
    """
    if path := environment.get("KFP_TOKEN_FILE"):
        return TokenFile(Path(path), "KFP_TOKEN_FILE")
    url = environment.get("KFP_OIDC_TOKEN_URL")
    if not url:
        return _notebook_token(environment)
    check_encrypted("KFP_OIDC_TOKEN_URL", url)
    if not environment.get("KFP_OIDC_CLIENT_ID"):
        raise ConfigError("KFP_OIDC_TOKEN_URL is set but KFP_OIDC_CLIENT_ID is not; set both")
    secret = environment.get("KFP_OIDC_CLIENT_SECRET")
    if not secret and (file := environment.get("KFP_OIDC_CLIENT_SECRET_FILE")):
        secret = _secret(Path(file), "KFP_OIDC_CLIENT_SECRET_FILE")
    if not secret:
        raise ConfigError(
            "KFP_OIDC_TOKEN_URL is set but no secret is; set KFP_OIDC_CLIENT_SECRET_FILE or KFP_OIDC_CLIENT_SECRET"
        )
    form = {"client_id": environment["KFP_OIDC_CLIENT_ID"], "client_secret": secret}
    for name, variable in (("scope", "KFP_OIDC_SCOPE"), ("audience", "KFP_OIDC_AUDIENCE")):
        if environment.get(variable):
            form[name] = environment[variable]
    return ClientCredentials(url, form)


def check_encrypted(name: str, url: str, environment: Mapping[str, str] = os.environ) -> None:
    """Refuse an address to which a secret would travel in the clear.

    Plain http is taken to this machine, which is where `kubectl port-forward` listens, and to a Service of the cluster
    (`inside_cluster`): Kubeflow's own notebooks and controllers ask its API server so, and who can read along there
    has the network of the cluster's nodes already.

    Raises:
        ConfigError: it is neither https nor one of these, or holds a password.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.username or parts.password:
        raise ConfigError(f"{name} holds a user or password; give those by KFP_TOKEN_FILE or KFP_OIDC_CLIENT_ID")
    here = parts.hostname in ("localhost", "127.0.0.1", "::1") or inside_cluster(url, environment)
    if parts.scheme != "https" and not (parts.scheme == "http" and here):
        raise ConfigError(
            f"{name} {url!r} is not https: a token would travel unencrypted; give an https address or, inside the "
            "cluster, the full name of the Service, such as http://ml-pipeline.kubeflow.svc:8888"
        )


def inside_cluster(url: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether an address is that of a Service which only pods of a cluster, or a tunnel into it, can reach.

    Names that end in `.svc` or `.svc.cluster.local` are. A name without a dot is one only in a pod: elsewhere it may be
    a machine of the local network. `service.namespace` is not: nothing tells it from a host of the internet.
    """
    host = (urllib.parse.urlsplit(url).hostname or "").rstrip(".")
    if host.endswith((".svc", ".svc.cluster.local")):
        return True
    return bool(host) and not set(host) & {".", ":"} and "KUBERNETES_SERVICE_HOST" in environment


def _notebook_token(environment: Mapping[str, str]) -> Credentials | None:
    variable = "KF_PIPELINES_SA_TOKEN_PATH"
    if path := environment.get(variable):
        return TokenFile(Path(path), variable)
    return TokenFile(NOTEBOOK_TOKEN, variable) if NOTEBOOK_TOKEN.is_file() else None


def _secret(path: Path, variable: str) -> str:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not plain text"
        raise ClusterError(f"{variable} {str(path)!r} cannot be read: {reason}; mount the secret there") from None
    if not text or "\n" in text:
        raise ClusterError(f"{variable} {str(path)!r} does not hold one line; mount the secret there")
    return text
