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
    import os

    from mmgen.ops import jobs, outputs

    with jobs.opened("validate", recipe, settings, root, data, events=os.environ.get("MMGEN_EVENTS")) as job:
        try:
            jobs.validate(job.run, job.progress, kfp_run=kfp_run)
        finally:
            outputs.copy_validation(job.run, page.path)
        dataset.uri, dataset.metadata = str(job.run.data_folder), {"version": job.run.data_version}
        metrics.metadata.update(outputs.counts(job.run))
