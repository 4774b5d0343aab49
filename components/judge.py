"""Kubeflow component: train the judge, or take the one that is there."""

from kfp import dsl

from components.images import GPU


@dsl.component(base_image=GPU, install_kfp_package=False)
def judge(
    recipe: str,
    settings: str,
    root: str,
    data: str,
    kfp_run: str,
    dataset: dsl.Input[dsl.Dataset],
    judge_model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Learn the features that score pictures, on data that no generator trains on.

    Args:
        dataset: output of `validate`.
        judge_model: sealed folder with the judge's weights.
        metrics: the judge's own accuracy on held-out real pictures, with its interval.
    """
    import os

    from mmgen.ops import jobs, outputs

    with jobs.opened("judge", recipe, settings, root, data, events=os.environ.get("MMGEN_EVENTS")) as job:
        result = jobs.judge(job.run, job.progress, kfp_run=kfp_run)
        judge_model.uri, judge_model.metadata = str(result.folder), job.run.facts("judge")
        metrics.metadata.update(outputs.judge_scores(job.run))
