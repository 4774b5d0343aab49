"""Kubeflow component: compare the new model with the champion."""

from kfp import dsl

from components.images import CPU


@dsl.component(base_image=CPU, install_kfp_package=False)
def gate(
    recipe: str,
    settings: str,
    root: str,
    data: str,
    kfp_run: str,
    scores: dsl.Input[dsl.Artifact],
    verdict: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
) -> None:
    """Decide whether the new model may take the champion's place. The decision is data, never an error.

    Args:
        scores: output of `evaluate`.
        verdict: sealed folder with the decision and its table.
        page: the same for people.
    """
    from mmgen.ops.stages import outputs, task

    run = task.perform("gate", recipe, settings, root, data, kfp_run)
    outputs.write_pointer(run, "gate", verdict.path)
    verdict.metadata["decision"] = outputs.verdict(run)["decision"]
    outputs.copy_page(run, "gate", "verdict.html", page.path)
