"""The house rules, checked on the sources: the arrow pipelines -> components -> mmgen.ops -> mmgen, the floors of
mmgen.ops, no rings of imports, folders and files that can be taken in at a glance, no trapdoors.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.imports import climbs, graph, imported_names, rings

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"dvc", "great_expectations", "kfp", "matplotlib", "mlflow", "pandas", "torchmetrics", "torchvision", "boto3"}

FORBIDDEN = {
    "mmgen": {"kfp", "mlflow", "boto3", "dvc", "great_expectations", "components", "pipelines", "mmgen.ops"},
    "mmgen/ops": {"kfp", "dvc", "components", "pipelines"},
    "components": {"pipelines", "dvc", "mlflow", "boto3", "great_expectations", "torch"},
    "pipelines": {"dvc", "mlflow", "boto3", "great_expectations", "torch"},
}
"""Room -> what nothing in it may import, at the top or in a function."""

FLOORS = {
    5: ("stages", "serving"),
    4: ("registry", "housekeeping"),
    3: ("tracking", "distributed"),
    2: ("runs",),
    1: ("storage", "validation", "gate"),
}
"""Rooms of mmgen/ops by floor. A room imports from floors below it; rooms on one floor know nothing of each other."""

MOST_FILES = 16
CROWDED = {
    "mmgen/recipes": 17,  # one recipe a file
    "pipelines/cluster": 17,  # its client, its manifests and what runs there are one subject
    "pipelines/cluster/check": 18,  # one check a file
}
"""Folders that hold more modules than `MOST_FILES`, and how many they may."""

MOST_LINES = 300
LONG = {
    # A family reads from its docstring's equations down to its `generate`: cutting it would part one from the other.
    "mmgen/models/tokens/model.py": 303,
    "mmgen/models/tts/model.py": 308,
}
"""Files that are longer than `MOST_LINES`, and how long they may be."""

FOUND_BY_OLD_MODELS = ("mmgen.errors", "mmgen.generate", "mmgen.modalities", "mmgen.modalities.media")
"""Modules that a registered model imports from the package it finds: versions of years ago must go on loading."""

LOADED_BY_MLFLOW = {"mmgen/ops/registry/pyfunc_model.py"}
"""Run by MLflow itself, so MLflow is loaded already."""

BANNED_MODULES = {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve", "cloudpickle"}
BANNED_CALLS = {
    "eval",
    "exec",
    "os.popen",
    "os.system",
    "torch.load",
    "torch.save",
    "yaml.full_load",
    "yaml.load",
    "yaml.unsafe_load",
}
BANNED_ARGUMENTS = {"allow_pickle", "shell", "trust_remote_code"}

SOURCES = [path for room in ("mmgen", "components", "pipelines") for path in sorted((ROOT / room).rglob("*.py"))]


TESTS = sorted((ROOT / "tests").rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room_of(path: Path) -> str:
    return max((room for room in FORBIDDEN if name_of(path).startswith(room + "/")), key=len)


LIBRARY = [path for path in SOURCES if room_of(path).startswith("mmgen") and name_of(path) not in LOADED_BY_MLFLOW]


def imports(tree: ast.AST) -> set[str]:
    """Every imported name with its parents: `from a.b import c` gives a, a.b and a.b.c."""
    split = [name.split(".") for name in imported_names(tree)]
    return {".".join(parts[: n + 1]) for parts in split for n in range(len(parts))}


def write(root: Path, sources: dict[str, str]) -> None:
    for name, source in sources.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(source)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_point_inwards(path: Path) -> None:
    assert not imports(ast.parse(path.read_text(encoding="utf-8"))) & FORBIDDEN[room_of(path)]


def test_no_two_files_import_each_other() -> None:
    assert rings(graph(ROOT, "mmgen", "components", "pipelines")) == []


def test_rooms_of_ops_import_only_from_floors_below() -> None:
    assert climbs(graph(ROOT, "mmgen/ops"), "mmgen/ops", FLOORS) == []
    assert {path.name for path in (ROOT / "mmgen" / "ops").iterdir() if any(path.glob("*.py"))} == {
        room for rooms in FLOORS.values() for room in rooms
    }


def test_a_ring_that_is_planted_is_found_with_its_files(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "mmgen/__init__.py": "",
            "mmgen/first.py": "def work():\n    from mmgen.second import x\n",
            "mmgen/second.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from mmgen import third\n",
            "mmgen/third.py": "import mmgen.first\n",
            "mmgen/apart.py": "import mmgen.first\n",
        },
    )

    assert rings(graph(tmp_path, "mmgen")) == ["mmgen/first.py -> mmgen/second.py -> mmgen/third.py -> mmgen/first.py"]


@pytest.mark.parametrize(
    ("source", "target", "line"),
    [
        ("storage/low.py", "stages/high.py", "{0} (floor 1) imports {1} (floor 5)"),
        ("stages/one.py", "serving/other.py", "{0} (floor 5) imports {1} (floor 5)"),
        ("runs/work.py", "runs/__init__.py", None),
        ("stages/high.py", "storage/low.py", None),
        ("flat.py", "storage/low.py", "{0} lies in no room of mmgen/ops"),
    ],
)
def test_an_import_that_climbs_is_found_with_both_files(
    tmp_path: Path, source: str, target: str, line: str | None
) -> None:
    module = "mmgen.ops." + target.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    write(tmp_path, {f"mmgen/ops/{target}": "", f"mmgen/ops/{source}": f"def work():\n    import {module}\n"})

    found = climbs(graph(tmp_path, "mmgen"), "mmgen/ops", FLOORS)

    assert found == ([line.format(f"mmgen/ops/{source}", f"mmgen/ops/{target}")] if line else [])


@pytest.mark.parametrize("folder", sorted({path.parent for path in [*SOURCES, *TESTS]}), ids=name_of)
def test_a_folder_can_be_taken_in_at_a_glance(folder: Path) -> None:
    modules = [path for path in folder.glob("*.py") if not path.name.startswith("__")]

    assert len(modules) <= CROWDED.get(name_of(folder), MOST_FILES)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_file_can_be_read_in_one_go(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONG.get(name_of(path), MOST_LINES)


def test_what_registered_models_import_is_still_there() -> None:
    code = ast.parse((ROOT / "mmgen" / "ops" / "registry" / "pyfunc_model.py").read_text(encoding="utf-8"))
    taken = {node.module for node in ast.walk(code) if isinstance(node, ast.ImportFrom) and node.module}

    assert {module for module in taken if module.startswith("mmgen")} <= set(FOUND_BY_OLD_MODELS)
    for module in FOUND_BY_OLD_MODELS:
        assert importlib.util.find_spec(module) is not None


@pytest.mark.parametrize("path", [path for path in SOURCES if path.parent != ROOT / "pipelines" / "cli"], ids=name_of)
def test_nothing_imports_the_command_line(path: Path) -> None:
    assert "pipelines.cli" not in imports(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_heavy_packages_are_imported_inside_functions(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])

    assert not imports(top) & HEAVY


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_call_can_run_what_a_file_holds(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    switched_on = {
        keyword.arg
        for call in calls
        for keyword in call.keywords
        if not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
    }

    assert not imports(tree) & BANNED_MODULES
    assert not {ast.unparse(call.func) for call in calls} & BANNED_CALLS
    assert not switched_on & BANNED_ARGUMENTS


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_the_first_line_says_what_the_file_is(path: Path) -> None:
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))

    assert doc
    assert len(doc.splitlines()[0]) > 15


@pytest.mark.parametrize("path", sorted((ROOT / "components").glob("*.py")), ids=name_of)
def test_components_stay_thin(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 40


IMPORT_ALL = """
import importlib, json, logging, os, pathlib, signal, sys, threading
before = (dict(os.environ), os.getcwd(), list(logging.getLogger().handlers), threading.active_count())
handler = signal.getsignal(signal.SIGTERM)
for name in sys.argv[1:]:
    importlib.import_module(name)
after = (dict(os.environ), os.getcwd(), list(logging.getLogger().handlers), threading.active_count())
print(json.dumps([before == after, handler == signal.getsignal(signal.SIGTERM), os.listdir(), sorted(sys.modules)]))
"""


def imported(folder: Path, modules: list[str]) -> tuple[bool, bool, list[str], set[str]]:
    """Import modules in a fresh process in an empty folder: state kept, signals kept, files there, modules loaded."""
    command = [sys.executable, "-c", IMPORT_ALL, *modules]
    # KMP_* are set by the math library that torch and numpy share.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KMP_INIT_AT_FORK": "FALSE", "KMP_DUPLICATE_LIB_OK": "True"}
    done = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True)
    kept, signals, files, loaded = json.loads(done.stdout.splitlines()[-1])
    return kept, signals, files, set(loaded)


def test_importing_the_library_does_nothing_but_import(tmp_path: Path) -> None:
    modules = [name_of(path).removesuffix(".py").replace("/", ".").removesuffix(".__init__") for path in SOURCES]
    ours = [name for name in modules if name.startswith("mmgen") and "pyfunc_model" not in name]

    kept, signals, files, loaded = imported(tmp_path, ours)

    assert kept
    assert signals
    assert files == []
    assert not loaded & HEAVY


def test_the_command_line_and_the_plan_load_nothing_heavy(tmp_path: Path) -> None:
    recipes = [f"mmgen.recipes.{path.stem}" for path in (ROOT / "mmgen" / "recipes").glob("[a-z]*.py")]

    *_, loaded = imported(
        tmp_path,
        ["pipelines.cli.main", "pipelines.local.plan", "mmgen.ops.stages.task", "mmgen.ops.runs.keys", *recipes],
    )

    assert not loaded & (HEAVY | {"torch", "numpy", "rich", "yaml"})
