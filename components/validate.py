"""Kubeflow component: check the data set against its expectations."""

from kfp import dsl

from components.images import CPU


@dsl.component(base_image=CPU, install_kfp_package=False)
def validate(
    recipe: str,
    settings: str,
    root: str,
    data: str,
    kfp_run: str,
    dataset: dsl.Output[dsl.Dataset],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Refuse bad data before anything is trained on it.

    Args:
        dataset: the data set that was checked; its version is in the metadata.
        page: every expectation and the samples that broke it, written also when the stage fails.
        metrics: samples checked, expectations met and samples set aside.
    """
    from mmgen.ops.stages import outputs, task

    run = task.perform(
        "validate", recipe, settings, root, data, kfp_run, finished=lambda run: outputs.copy_validation(run, page.path)
    )
    outputs.write_data_pointer(run, dataset.path)
    dataset.metadata["version"] = run.data_version
    metrics.metadata.update(outputs.counts(run))
