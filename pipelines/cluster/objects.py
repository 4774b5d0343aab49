"""What Kubernetes itself reports about our runs, where it is accessible: workflows, pods and warnings.

    KUBECONFIG         or ~/.kube/config, or the token that a pod has; without one of them nothing is asked
    KFP_KUBE_CONTEXT   the context whose cluster is that of KFP_ENDPOINT; unless named, the current one, which is not
                       taken for that cluster before it shows a workflow of one of its runs

Kubeflow works without any of this. An API that is not there, refuses or is too slow is no error: it is not asked again
and its answer is None. Rights that are used: list on workflows of argoproj.io, pods and events of the namespace.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmgen.errors import ConfigError
from pipelines.cluster.auth import inside_cluster

RUN_LABEL = "pipeline/runid"
"""Kubeflow's label with the id of a run, of its workflow and pods."""
ONLY_METADATA = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"
TIMEOUTS = (3, 10)
"""Seconds to connect and to wait for an answer."""


class Objects:
    """The objects of a namespace."""

    def __init__(self, client: Any, namespace: str, same_cluster: bool) -> None:
        self._client = client
        self._namespace = namespace
        self._refused = False
        self.same_cluster = same_cluster
        """Whether it is said to be the cluster of KFP_ENDPOINT; else it has to be seen."""

    def runs(self) -> set[str] | None:
        """Ids of the runs that have a workflow here."""
        found = self._list(
            f"/apis/argoproj.io/v1alpha1/namespaces/{self._namespace}/workflows",
            {"labelSelector": RUN_LABEL},
            ONLY_METADATA,
        )
        return None if found is None else {item["metadata"]["labels"][RUN_LABEL] for item in found}

    def pods(self, run_id: str) -> list[dict[str, Any]] | None:
        """The pods of a run."""
        return self._list(f"/api/v1/namespaces/{self._namespace}/pods", {"labelSelector": f"{RUN_LABEL}={run_id}"})

    def warnings(self) -> list[dict[str, Any]] | None:
        """The warnings of the last hour or so, whatever they are about."""
        return self._list(f"/api/v1/namespaces/{self._namespace}/events", {"fieldSelector": "type=Warning"})

    def _list(self, path: str, query: Mapping[str, str], accept: str = "application/json") -> list[Any] | None:
        if self._refused:
            return None
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            answer = self._client.call_api(
                path,
                "GET",
                query_params=list(query.items()),
                header_params={"Accept": accept},
                auth_settings=["BearerToken"],
                _preload_content=False,
                _return_http_data_only=True,
                _request_timeout=TIMEOUTS,
            )
            return list(json.loads(answer.data)["items"])
        except (ApiException, HTTPError, OSError, ValueError, KeyError) as error:
            # Without a right to one kind of object the others may still be asked.
            self._refused = getattr(error, "status", None) not in (403, 404)
            return None


def connect(environment: Mapping[str, str] = os.environ) -> Objects | None:
    """The objects of the namespace that KFP_NAMESPACE names; None where Kubernetes cannot be asked.

    Raises:
        ConfigError: KFP_KUBE_CONTEXT names no context.
    """
    namespace = environment.get("KFP_NAMESPACE")
    file = environment.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    in_pod = "KUBERNETES_SERVICE_HOST" in environment
    context = environment.get("KFP_KUBE_CONTEXT")
    if not namespace or not (in_pod or any(Path(part).is_file() for part in file.split(os.pathsep))):
        return None
    import yaml
    from kubernetes import client, config

    configuration = client.Configuration()
    configuration.retries = False
    same = bool(context)
    try:
        try:
            config.load_kube_config(file, context=context, client_configuration=configuration)
        except config.ConfigException:
            if context:
                raise ConfigError(f"KFP_KUBE_CONTEXT {context!r} cannot be used with {file}; name one of it") from None
            if not in_pod:
                return None
            config.load_incluster_config(client_configuration=configuration)
            same = inside_cluster(environment.get("KFP_ENDPOINT", ""), environment)
    except (config.ConfigException, yaml.YAMLError, OSError, ValueError, KeyError, TypeError):
        return None  # a file that is broken names no API
    return Objects(client.ApiClient(configuration), namespace, same)
