"""Kubeflow component: score the trained model."""

from kfp import dsl

from components.images import GPU


@dsl.component(base_image=GPU, install_kfp_package=False)
def evaluate(
    recipe: str,
    settings: str,
    root: str,
    data: str,
    kfp_run: str,
    model: dsl.Input[dsl.Model],
    judge_model: dsl.Input[dsl.Model],
    scores: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Ask the model what the recipe's task asks, and score the answers.

    Args:
        model: output of `train`.
        judge_model: output of `judge`.
        scores: sealed folder with every score, its interval, and the grids.
        metrics: the headline scores.
    """
    import os

    from mmgen.ops import jobs, outputs

    with jobs.opened("evaluate", recipe, settings, root, data, events=os.environ.get("MMGEN_EVENTS")) as job:
        result = jobs.evaluate(job.run, job.progress, kfp_run=kfp_run)
        jobs.score_for_gate(job.run, job.progress)
        scores.uri, scores.metadata = str(result.folder), job.run.facts("evaluate")
        metrics.metadata.update(outputs.headline(job.run))
