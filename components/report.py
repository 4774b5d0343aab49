"""Kubeflow component: write the report of a run."""

from kfp import dsl

from components.images import CPU


@dsl.component(base_image=CPU, install_kfp_package=False)
def report(
    recipe: str,
    settings: str,
    root: str,
    data: str,
    kfp_run: str,
    version: dsl.Input[dsl.Model],
    page: dsl.Output[dsl.HTML],
) -> None:
    """Put everything about the run on one page that needs nothing else to be looked at.

    Args:
        version: output of `register`.
        page: samples beside the truth, curves, captions, the verdict and where it all comes from.
    """
    from mmgen.ops.stages import outputs, task

    run = task.perform("report", recipe, settings, root, data, kfp_run)
    outputs.copy_page(run, "report", "report.html", page.path)
