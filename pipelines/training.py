"""validate -> judge -> train -> evaluate -> gate -> register -> report. Only wiring: no files, no arithmetic.

Each stage seals what it made under a key of everything that went into it, and finds it again under that key, so
Kubeflow's own cache is off: it knows neither the code that a component imports nor whether its output still exists.
"""

from collections.abc import Mapping
from typing import Any

from kfp import dsl

from components.evaluate import evaluate
from components.gate import gate
from components.judge import judge
from components.register import register
from components.report import report
from components.train import train
from components.validate import validate
from pipelines.cluster.form import HERE, Form
from pipelines.cluster.images import Images
from pipelines.cluster.profiles import Resources, apply


def pipeline(images: Images | None = None, profile: Mapping[str, Resources] | None = None, form: Form = HERE) -> Any:
    """The pipeline, its tasks in `images` and with the resources of `profile`; without them as this machine runs it.

    Args:
        form: defaults of the pipeline's parameters, which Kubeflow's pages show as a form.
    """

    @dsl.pipeline(name="mmgen-train", description="From a data set to a judged and registered any-to-any generator.")
    def training(
        recipe: str = form.recipe,
        size: str = form.size,
        settings: str = form.settings,
        root: str = form.root,
        data: str = form.data,
        promote: bool = form.promote,
    ) -> None:
        """Train and judge one recipe, and register the model.

        Args:
            recipe: A named run, see `mmgen recipes`.
            size: Which sizes of the recipe: "default" for its scores, "small" for a run of a few minutes.
            settings: Overrides of single settings, such as "training.steps=500; seed=1". Empty for none.
            root: Folder of everything that runs make, or s3://bucket/prefix.
            data: Folder of the data sets, or s3://bucket/prefix.
            promote: Whether the gate's verdict makes a champion at once; without it a person does, by `mmgen promote`.
        """
        run = dsl.PIPELINE_JOB_ID_PLACEHOLDER
        settings = f"size={size}; {settings}"
        same = {"recipe": recipe, "settings": settings, "root": root, "data": data, "kfp_run": run}
        checked = validate(**same)
        judged = judge(**same, dataset=checked.outputs["dataset"])
        trained = train(**same, dataset=checked.outputs["dataset"])
        if profile is None:  # on one machine both would fight for the same cores; pods train side by side
            trained.after(judged)
        scored = evaluate(**same, model=trained.outputs["model"], judge_model=judged.outputs["judge_model"])
        decided = gate(**same, scores=scored.outputs["scores"])
        kept = register(**same, promote=promote, model=trained.outputs["model"], verdict=decided.outputs["verdict"])
        told = report(**same, version=kept.outputs["version"])
        tasks = {
            checked: "Validate data",
            judged: "Train judge",
            trained: "Train model",
            scored: "Evaluate",
            decided: "Gate",
            kept: "Register",
            told: "Report",
        }
        for task, title in tasks.items():
            task.set_display_name(title).set_caching_options(False)
            if images is not None:
                task.set_container_image(images.of(task.container_spec.image))
                for name, value in images.environment.items():
                    task.set_env_variable(name, value)
            if profile is not None:
                apply(task, profile[task.name])
                if images is not None and profile[task.name].nodes > 1:
                    task.set_env_variable("MMGEN_TRAIN_IMAGE", images.gpu)  # of the pods that train

    return training
