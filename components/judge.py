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
    from mmgen.ops.stages import outputs, task

    run = task.perform("judge", recipe, settings, root, data, kfp_run)
    outputs.write_pointer(run, "judge", judge_model.path)
    judge_model.metadata.update(run.facts("judge"))
    metrics.metadata.update(outputs.judge_scores(run))
