"""The house rules, checked on the sources: the arrow pipelines -> components -> mmgen.ops -> mmgen, no trapdoors."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"dvc", "great_expectations", "kfp", "matplotlib", "mlflow", "pandas", "torchmetrics", "torchvision", "boto3"}

FORBIDDEN = {
    "mmgen": {"kfp", "mlflow", "boto3", "dvc", "great_expectations", "components", "pipelines", "mmgen.ops"},
    "mmgen/ops": {"kfp", "dvc", "components", "pipelines"},
    "components": {"pipelines", "dvc", "mlflow", "boto3", "great_expectations", "torch"},
    "pipelines": {"dvc", "mlflow", "boto3", "great_expectations", "torch"},
}
"""Room -> what nothing in it may import, at the top or in a function."""

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


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room_of(path: Path) -> str:
    return max((room for room in FORBIDDEN if name_of(path).startswith(room + "/")), key=len)


LIBRARY = [path for path in SOURCES if room_of(path).startswith("mmgen") and name_of(path) not in LOADED_BY_MLFLOW]


def imports(tree: ast.AST) -> Iterator[str]:
    """Every imported name with its parents: `from a.b import c` gives a, a.b and a.b.c."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[: n + 1]) for n in range(len(parts)))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_point_inwards(path: Path) -> None:
    assert not set(imports(ast.parse(path.read_text(encoding="utf-8")))) & FORBIDDEN[room_of(path)]


@pytest.mark.parametrize("path", [path for path in SOURCES if path.parent != ROOT / "pipelines" / "cli"], ids=name_of)
def test_nothing_imports_the_command_line(path: Path) -> None:
    assert "pipelines.cli" not in set(imports(ast.parse(path.read_text(encoding="utf-8"))))


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_heavy_packages_are_imported_inside_functions(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])

    assert not set(imports(top)) & HEAVY


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

    assert not set(imports(tree)) & BANNED_MODULES
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
