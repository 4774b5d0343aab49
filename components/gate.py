"""Kubeflow component: compare the new model with the champion."""

from kfp import dsl

from components.images import CPU


@dsl.component(base_image=CPU, install_kfp_package=False)
def gate(
    recipe: str,
    settings: str,
    root: str,
    data: str,
    kfp_run: str,
    scores: dsl.Input[dsl.Artifact],
    verdict: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
) -> None:
    """Decide whether the new model may take the champion's place. The decision is data, never an error.

    Args:
        scores: output of `evaluate`.
        verdict: sealed folder with the decision and its table.
        page: the same for people.
    """
    import os

    from mmgen.ops import jobs, outputs

    with jobs.opened("gate", recipe, settings, root, data, events=os.environ.get("MMGEN_EVENTS")) as job:
        result = jobs.gate(job.run, job.progress, kfp_run=kfp_run)
        verdict.uri, verdict.metadata = str(result.folder), {"decision": outputs.verdict(job.run)["decision"]}
        outputs.copy_page(job.run, "gate", "verdict.html", page.path)
