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
    from mmgen.ops.stages import outputs, task

    run = task.perform("evaluate", recipe, settings, root, data, kfp_run)
    outputs.write_pointer(run, "evaluate", scores.path)
    scores.metadata.update(run.facts("evaluate"))
    metrics.metadata.update(outputs.headline(run))
