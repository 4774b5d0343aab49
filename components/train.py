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
    import os

    from mmgen.ops import jobs, outputs

    with jobs.opened("train", recipe, settings, root, data, events=os.environ.get("MMGEN_EVENTS")) as job:
        result = jobs.train(job.run, job.progress, kfp_run=kfp_run)
        model.uri, model.metadata = str(result.folder), job.run.facts("train")
        metrics.metadata.update(outputs.training_figures(job.run))
