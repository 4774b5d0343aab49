"""Put the pipeline into Kubeflow's pages with its form filled in: *Create run* and *Start* need nothing typed.

Each profile has a pipeline of its own there, since what a task may use of the cluster is fixed when it is compiled:
`mmgen-train` for the first profile, `mmgen-train-gpu` and so on for the others.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmgen.ops.runs.run import code_version
from pipelines.cluster.client import EXPERIMENT, PIPELINE, Cluster
from pipelines.cluster.compile import compiled
from pipelines.cluster.form import Form
from pipelines.cluster.images import Images
from pipelines.cluster.profiles import NAMES


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """Where the pipeline is in Kubeflow."""

    pipeline: str
    version: str
    experiment: str
    pipeline_id: str
    version_id: str


def publish(cluster: Cluster, images: Images, profile: str, form: Form) -> Published:
    """Upload the pipeline under a version that is named after the git commit; the same content again changes nothing.

    The experiment is made as well, so that the pages offer it.

    Raises:
        ConfigError: the form names folders that no pod sees.
        ClusterError: the server refuses.
    """
    form.check()
    commit, dirty = code_version()
    pipeline = PIPELINE if profile == NAMES[0] else f"{PIPELINE}-{profile}"
    version = f"{commit[:12]}-dirty" if dirty else commit[:12]
    changed = " with changes" if dirty else ""
    about = f"Commit {commit}{changed}. Root {form.root}, data {form.data}, profile {profile}."
    cluster.experiment()
    made = cluster.upload(compiled(images, profile, form), pipeline=pipeline, version=version, description=about)
    return Published(
        pipeline=pipeline,
        version=made.name,
        experiment=EXPERIMENT,
        pipeline_id=made.pipeline_id,
        version_id=made.version_id,
    )
