"""Kubeflow component: train one recipe."""

from kfp import dsl

from components.images import GPU


@dsl.component(base_image=GPU, install_kfp_package=False)
def train(
    recipe: str,
    settings: str,
    root: str,
    data: str,
    kfp_run: str,
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Train the generator; a run that was killed goes on from its last checkpoint.

    Args:
        dataset: output of `validate`.
        model: sealed folder with safetensors weights, curves and sample grids.
        metrics: steps, seconds, parameters and the last losses.
    """
    from mmgen.ops.stages import outputs, task

    run = task.perform("train", recipe, settings, root, data, kfp_run)
    outputs.write_pointer(run, "train", model.path)
    model.metadata.update(run.facts("train"))
    metrics.metadata.update(outputs.training_figures(run))
