"""The compiled pipeline: the committed file is what the code compiles to, and holds nothing of this machine."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml

from mmgen import recipes
from mmgen.errors import ConfigError
from mmgen.ops.runs.keys import STAGES
from pipelines.cluster import compile as compiling
from pipelines.cluster.form import Form
from pipelines.cluster.images import Images, parse
from pipelines.cluster.profiles import ACCELERATOR, NAMES, PROFILES
from tests.support.whole_run import mmgen

LARGEST_BYTES = 100_000
BY_DIGEST = Images(cpu=f"example.org/a/cpu@sha256:{'a' * 64}", gpu=f"example.org/a/gpu@sha256:{'b' * 64}")
ON_THE_CPU_IMAGE = {"validate", "gate", "register", "report"}


def documents(images: Images = BY_DIGEST, profile: str = NAMES[0]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The pipeline, and what of it only Kubernetes understands, by the name of the executor."""
    pipeline, platform = yaml.safe_load_all(compiling.compiled(images, profile))
    return pipeline, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def containers(pipeline: dict[str, Any]) -> dict[str, dict[str, Any]]:
    executors = pipeline["deploymentSpec"]["executors"]
    return {name.removeprefix("exec-"): executor["container"] for name, executor in executors.items()}


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    return documents()[0]


def test_the_committed_pipelines_are_what_the_code_compiles_to() -> None:
    compiling.check()


@pytest.mark.parametrize("profile", NAMES)
def test_compiling_twice_gives_the_same_few_bytes_and_names_no_folder_of_this_machine(profile: str) -> None:
    first = compiling.compiled(profile=profile)

    assert first == compiling.compiled(profile=profile)
    assert len(first) <= LARGEST_BYTES
    assert str(Path.home()).encode() not in first
    assert str(compiling.GOLDENS.parents[1]).encode() not in first


def test_a_pipeline_that_drifted_is_refused_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "GOLDENS", tmp_path / "pipelines" / "compiled")
    with pytest.raises(ConfigError, match="run: mmgen compile"):
        compiling.check()

    compiling.write()
    compiling.check()
    other = compiling.golden("gpus")
    other.write_text(other.read_text() + "\n")

    with pytest.raises(ConfigError, match=r"pipelines/compiled/training-gpus\.yaml"):
        compiling.check()


def test_the_stages_are_the_tasks_in_order(spec: dict[str, Any]) -> None:
    tasks = spec["root"]["dag"]["tasks"]

    assert set(tasks) == set(STAGES)
    for earlier, later in itertools.pairwise(STAGES):
        if (earlier, later) != ("judge", "train"):
            assert earlier in tasks[later]["dependentTasks"]


def test_pods_train_judge_and_model_side_by_side_and_one_machine_trains_them_in_turn(spec: dict[str, Any]) -> None:
    from pipelines.training import pipeline

    here = pipeline().pipeline_spec.root.dag.tasks["train"].dependent_tasks

    assert set(spec["root"]["dag"]["tasks"]["train"]["dependentTasks"]) == {"validate"}
    assert set(here) == {"validate", "judge"}


def test_nothing_is_installed_when_a_task_starts(spec: dict[str, Any]) -> None:
    for executor in spec["deploymentSpec"]["executors"].values():
        assert "pip" not in " ".join(executor["container"]["command"][:3])


def test_kubeflows_own_cache_is_off(spec: dict[str, Any]) -> None:
    assert not any(task["cachingOptions"].get("enableCache") for task in spec["root"]["dag"]["tasks"].values())


def test_every_input_of_the_pipeline_is_described_and_has_a_default(spec: dict[str, Any]) -> None:
    inputs = spec["root"]["inputDefinitions"]["parameters"]

    assert set(inputs) == {"recipe", "size", "settings", "root", "data", "promote"}
    assert all(entry["description"] and "defaultValue" in entry for entry in inputs.values())


def test_parameters_with_few_values_are_choices_which_the_pages_draw_and_the_server_checks(
    spec: dict[str, Any],
) -> None:
    inputs = spec["root"]["inputDefinitions"]["parameters"]

    assert inputs["recipe"]["literals"] == list(recipes.NAMES)
    assert inputs["size"]["literals"] == ["default", "small"]
    assert inputs["promote"]["literals"] == [True, False]
    for name in ("recipe", "size", "promote"):
        assert inputs[name]["defaultValue"] in inputs[name]["literals"]


def test_a_form_gives_the_defaults() -> None:
    form = Form(recipe="vae", size="small", settings="seed=3", root="s3://b/runs", data="s3://b/data", promote=False)

    compiled, _ = yaml.safe_load_all(compiling.compiled(BY_DIGEST, form=form))
    inputs = compiled["root"]["inputDefinitions"]["parameters"]

    assert {name: entry["defaultValue"] for name, entry in inputs.items()} == dataclasses.asdict(form)


@pytest.mark.parametrize("place", ["runs", "./runs", "../runs"])
def test_a_form_with_a_folder_that_no_pod_sees_is_refused(place: str) -> None:
    with pytest.raises(ConfigError, match="no pod sees"):
        Form(root=place, data="s3://b/data").check()
    with pytest.raises(ConfigError, match="no pod sees"):
        Form(root="/volumes/runs", data=place).check()


def test_each_task_runs_in_the_image_of_its_role_and_is_told_both_digests(spec: dict[str, Any]) -> None:
    found = containers(spec)

    assert {stage for stage, container in found.items() if container["image"] == BY_DIGEST.cpu} == ON_THE_CPU_IMAGE
    assert {container["image"] for container in found.values()} == {BY_DIGEST.cpu, BY_DIGEST.gpu}
    for container in found.values():
        told = {entry["name"]: entry["value"] for entry in container["env"]}
        assert told == {
            "MMGEN_CACHE": "/tmp/cache",
            "MMGEN_RESTARTS": "3",
            "MMGEN_IMAGE_DIGEST": f"cpu=sha256:{'a' * 64} gpu=sha256:{'b' * 64}",
        }


def test_where_things_are_and_their_keys_are_named_never_written_down() -> None:
    """Each task takes addresses from a ConfigMap and keys from a Secret, where the cluster has them."""
    for profile in NAMES:
        _, platform = yaml.safe_load_all(compiling.compiled(profile=profile))
        for executor in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
            (settings,), (keys,) = executor["configMapAsEnv"], executor["secretAsEnv"]
            assert (settings["configMapName"], settings["optional"]) == ("mmgen-settings", True)
            told = {pair["configMapKey"]: pair["envVar"] for pair in settings["keyToEnv"]}
            assert told["MLFLOW_TRACKING_URI"] == "MMGEN_TRACKING_URI"
            assert {"AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION", "AWS_CA_BUNDLE"} <= told.keys()
            assert (keys["secretName"], keys["optional"]) == ("object-store", True)
            assert {pair["envVar"] for pair in keys["keyToEnv"]} == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


@pytest.mark.parametrize("name", ["cpu:latest", "cpu", "cpu@sha256:abc", f"@sha256:{'a' * 64}", "", "a b", "a;b@c"])
def test_an_image_without_a_whole_digest_is_refused_by_its_role(name: str) -> None:
    with pytest.raises(ConfigError, match=r"image cpu=.*@sha256:"):
        Images(cpu=name, gpu=BY_DIGEST.gpu)


@pytest.mark.parametrize("name", ["", "a b", "$(id)", "-v", "a{{$}}"])
def test_what_is_no_name_of_an_image_is_refused_in_development_too(name: str) -> None:
    with pytest.raises(ConfigError, match="no image name"):
        Images(cpu=name, gpu=BY_DIGEST.gpu, dev=True)


@pytest.mark.parametrize(
    ("given", "said"), [(["cpu=a"], "named for 'gpu'"), (["tpu=a"], "unknown image role 'tpu'"), ([], "for 'cpu'")]
)
def test_both_roles_have_to_be_named(given: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse(given, dev=True)


def test_images_of_development_mark_every_task_as_dirty() -> None:
    images = parse(["cpu=localhost:5000/a:1", "gpu=b"], dev=True)

    for container in containers(documents(images)[0]).values():
        assert {"name": "MMGEN_IMAGE_DEV", "value": "1"} in container["env"]


def test_no_shell_reads_what_kubeflow_fills_in(spec: dict[str, Any]) -> None:
    for container in containers(spec).values():
        words = [*container["command"], *container["args"]]
        scripts = [after for word, after in itertools.pairwise(words) if word in ("-c", "-ec")]
        assert scripts
        assert not any("{{" in script for script in scripts)


@pytest.mark.parametrize("profile", NAMES)
def test_every_task_of_a_profile_has_bounds_and_a_place_to_write_to(profile: str) -> None:
    pipeline, platform = documents(profile=profile)
    tasks, found = pipeline["root"]["dag"]["tasks"], containers(pipeline)

    for stage in STAGES:
        wanted, resources, on_kubernetes = (
            PROFILES[profile].stages[stage],
            found[stage]["resources"],
            platform[f"exec-{stage}"],
        )
        assert resources["cpuRequest"] <= resources["cpuLimit"]
        assert resources["memoryRequest"] <= resources["memoryLimit"]
        assert tasks[stage]["retryPolicy"]["maxRetryCount"] == wanted.retries > 0
        tried = int(tasks[stage]["retryPolicy"]["backoffMaxDuration"].removesuffix("s"))
        assert tried > (wanted.retries + 1) * wanted.timeout_s  # Argo ends the attempt that is then at work
        assert int(on_kubernetes["activeDeadlineSeconds"]) == wanted.timeout_s > 0
        assert on_kubernetes["securityContext"] == {"runAsNonRoot": True}
        mounts = {mount["mountPath"]: mount["sizeLimit"] for mount in on_kubernetes["emptyDirMounts"]}
        assert mounts == {"/tmp": wanted.scratch} | ({"/dev/shm": wanted.shared_memory} if wanted.gpus else {})


@pytest.mark.parametrize("profile", NAMES)
def test_only_tasks_of_the_gpu_image_ask_for_a_gpu_and_go_to_nodes_that_have_one(profile: str) -> None:
    pipeline, platform = documents(profile=profile)

    asked = {stage: container["resources"].get("accelerator") for stage, container in containers(pipeline).items()}
    on_gpus = {stage for stage, accelerator in asked.items() if accelerator}
    assert {stage: int(asked[stage]["resourceCount"]) for stage in on_gpus} == {
        stage: resources.gpus for stage, resources in PROFILES[profile].stages.items() if resources.gpus
    }
    assert {asked[stage]["resourceType"] for stage in on_gpus} <= {ACCELERATOR}
    assert not on_gpus & ON_THE_CPU_IMAGE
    assert {name.removeprefix("exec-") for name, more in platform.items() if "nodeSelector" in more} == on_gpus
    assert {name.removeprefix("exec-") for name, more in platform.items() if "tolerations" in more} == on_gpus


def test_the_verb_compiles_for_a_cluster_and_refuses_tags_in_one_line(tmp_path: Path) -> None:
    images = [word for role in ("cpu", "gpu") for word in ("--image", f"{role}={getattr(BY_DIGEST, role)}")]

    made = mmgen("compile", "--profile", "gpus", *images, "--out", tmp_path / "made.yaml")
    refused = mmgen("compile", "--image", "cpu=a:1", "--image", "gpu=b:1", "--out", tmp_path / "refused.yaml")

    assert made.returncode == 0, made.stderr
    assert (tmp_path / "made.yaml").read_bytes() == compiling.compiled(BY_DIGEST, "gpus")
    assert refused.returncode == 10
    assert refused.stderr.startswith("mmgen: image cpu='a:1' has no digest; ")
    assert len(refused.stderr.splitlines()) == 1
    assert not (tmp_path / "refused.yaml").exists()
