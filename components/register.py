"""Kubeflow component: put the model and its verdict into the registry."""

from kfp import dsl

from components.images import CPU


@dsl.component(base_image=CPU, install_kfp_package=False)
def register(
    recipe: str,
    settings: str,
    root: str,
    data: str,
    kfp_run: str,
    promote: bool,
    model: dsl.Input[dsl.Model],
    verdict: dsl.Input[dsl.Artifact],
    version: dsl.Output[dsl.Model],
) -> None:
    """Register the model, and make it champion if the verdict says so and `promote` lets it.

    Args:
        model: output of `train`.
        verdict: output of `gate`.
        version: the registered version; its name, number and aliases are in the metadata.
    """
    from mmgen.ops.stages import outputs, task

    run = task.perform("register", recipe, settings, root, data, kfp_run, promote=promote)
    outputs.write_pointer(run, "register", version.path)
    version.metadata.update(outputs.registered(run))
