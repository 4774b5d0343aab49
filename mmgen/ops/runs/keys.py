"""Keys: a stage with the same key has the same output, so it need not run again.

A key is a digest of everything that can change a stage's output and of nothing else: the settings it reads,
the data version, the keys of the stages it builds on, the sources of the code it imports, the versions of
the packages that compute. The hashed parts are kept beside the key (and in the stage's seal), so that
`mmgen plan` can name what changed.

    validate ----.                                  settings: data
    judge -------+-----------.                      settings: judge, data.name, training.threads
    train -------+-- evaluate -- gate -- register -- report

What is seen of the code: `import` statements anywhere in a module, followed inside `mmgen`. What is not
seen: modules imported by a computed name, which is why the files of the recipe's model family, its judge, its task
and the modalities of its data set are entries of their own.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmgen.errors import ConfigError
from mmgen.evaluation.config import JUDGES, TASKS
from mmgen.files import SCHEMA, digest, sha256_file
from mmgen.recipes import Recipe, describe

STAGES = ("validate", "judge", "train", "evaluate", "gate", "register", "report")
"""Stages of a run, in order."""

CODE = Path(__file__).resolve().parents[3]
"""Folder that holds the package `mmgen` and `gates.yaml`."""

RULES = CODE / "gates.yaml"

LOCK = CODE / "constraints.txt"

ENTRIES = {
    "validate": ("mmgen.ops.validation.checks",),
    "judge": (),
    "train": ("mmgen.training.train",),
    "evaluate": ("mmgen.evaluation.evaluate",),
    "gate": ("mmgen.ops.gate.gate",),
    "register": ("mmgen.ops.registry.registration", "mmgen.ops.registry.pyfunc_model"),
    "report": ("mmgen.evaluation.report.report",),
}

COSMETIC = ("mmgen.errors", "mmgen.progress", "mmgen.recipes")
"""Not followed: they cannot change an output. The values of a recipe enter a key as settings, not as source."""

COMPUTES = {"judge": ("torch", "numpy"), "train": ("torch", "numpy"), "evaluate": ("torch", "numpy")}
"""Packages whose version can change the numbers of a stage."""

LENGTH = 16
"""Hexadecimal digits of a key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Keys:
    """The keys of one run."""

    run_key: str
    """Names the run as a whole: one parent run in MLflow, one model version."""
    stages: dict[str, str]
    """Key of each stage, in the order of `STAGES`."""
    parts: dict[str, dict[str, Any]]
    """What each key was made of, plain JSON."""


def stage_keys(
    recipe: Recipe, data_version: str, modalities: Sequence[str], *, rules: Path = RULES, code: Path = CODE
) -> Keys:
    """Keys of a run of `recipe` on the data set with version `data_version` and `modalities`.

    The digest of the container image is read from `MMGEN_IMAGE_DIGEST` ("local" when unset) and is part of
    the run key only: the same sources in another image are another run of the same stages.

    Args:
        rules: the gate's rules, `gates.yaml`.
        code: folder that holds the package; tests point it elsewhere.

    Raises:
        ConfigError: the rules or the source of a stage cannot be found.
    """
    if not rules.is_file():
        raise ConfigError(f"the gate's rules {str(rules)!r} are missing; restore gates.yaml from the repository")
    settings = flatten(describe(recipe))
    sources = _Sources(code)
    stages: dict[str, str] = {}
    parts: dict[str, dict[str, Any]] = {}

    def add(stage: str, sections: tuple[str, ...], inputs: tuple[str, ...], *more: str, **extra: Any) -> None:
        parts[stage] = {
            "schema": SCHEMA,
            "stage": stage,
            "settings": {name: value for name, value in settings.items() if _in(name, sections)},
            "inputs": {name: stages[name] for name in inputs},
            "code": sources.closure(*ENTRIES[stage], *more),
            "versions": {name: version(name) for name in COMPUTES.get(stage, ())},
            **extra,
        }
        stages[stage] = key_of(parts[stage])

    readers = [f"mmgen.modalities.{modality}" for modality in modalities]
    judge, task = JUDGES[recipe.judge.kind], TASKS[recipe.evaluation.task]
    add("validate", ("data",), (), *readers, data=data_version)
    # Sums of several threads differ in the last digits, and so does all that is learned.
    add("judge", ("judge", "data.name", "training.threads"), (), judge, *readers, data=data_version)
    # Training reads one thing of validation, the list of quarantined samples, which is empty without a budget.
    # So a change in the validation code alone costs no training.
    quarantine = ("validate",) if recipe.data.quarantine else ()
    model = sources.family(type(recipe.model).__module__)
    add("train", ("data", "model", "training", "seed"), quarantine, *model, *readers, data=data_version)
    add("evaluate", ("evaluation", "data"), ("judge", "train"), judge, task, *model, *readers, data=data_version)
    add("gate", ("name",), ("evaluate",), rules=sha256_file(rules))

    image = os.environ.get("MMGEN_IMAGE_DIGEST", "local")
    # The report only reads: its code is no part of the run's identity, nor is the code that registers.
    run_key = key_of({"schema": SCHEMA, "settings": settings, "data": data_version, "image": image, "inputs": stages})
    add("register", tuple(describe(recipe)), tuple(stages), data=data_version, image=image)
    add("report", (), ("register",))
    return Keys(run_key=run_key, stages=stages, parts=parts)


def scores_parts(keys: Keys, train_key: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Parts of the evaluation of another model (by its train key) on this run's judge, data and settings.

    Their key (`key_of`) is the one under which that model was evaluated itself, unless judge, data, settings or
    evaluation code have changed since: then the other model has to be scored again.

    Args:
        settings: what differs from the run's own, such as `{"evaluation.seed": 2}`.
    """
    parts = keys.parts["evaluate"]
    inputs = {**parts["inputs"], "train": train_key}
    return {**parts, "settings": {**parts["settings"], **settings}, "inputs": inputs}


def version(package: str) -> str:
    """The version of `package` that is installed, else the one of the lock.

    The image without torch computes the same keys as the one that has it: both are built from `constraints.txt`.

    Raises:
        ConfigError: it is neither installed nor locked.
    """
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError as error:
        lines = LOCK.read_text(encoding="utf-8").splitlines() if LOCK.is_file() else []
        locked = [line.partition("==")[2] for line in lines if line.partition("==")[0].lower() == package]
        if not locked:
            raise ConfigError(
                f"package {package!r} is not installed, nor locked in {str(LOCK)!r}; run: make install"
            ) from error
        return locked[0]


def key_of(parts: Mapping[str, Any]) -> str:
    """The key of a stage with these parts."""
    return digest(parts)[:LENGTH]


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between the parts of two keys, one short line each, in words for a person.

    >>> changes({"settings": {"training.steps": 3000}}, {"settings": {"training.steps": 2000}})
    ['training.steps: 3000 -> 2000']
    """
    lines = []
    for part in ("settings", "data", "inputs", "rules", "versions", "image", "schema", "code"):
        before, after = old.get(part), new.get(part)
        if before == after:
            continue
        if part in ("data", "image", "schema"):
            lines.append(f"{part}: {before} -> {after}")
        elif part == "rules":
            lines.append("gates.yaml changed")
        else:
            lines += _changed(part, before or {}, after or {})
    return lines


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as `section.field` names; lists stay whole.

    >>> flatten({"model": {"width": 64}, "seed": 0})
    {'model.width': 64, 'seed': 0}
    """
    flat: dict[str, Any] = {}
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            flat |= flatten(inner, f"{prefix}{name}.")
        else:
            flat[prefix + name] = inner
    return flat


def _changed(part: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        if part == "inputs":
            yield f"stage {name} is new"
        elif part == "code":
            verb = "added" if before is None else "removed" if after is None else "changed"
            yield f"code of {name} {verb}"
        else:
            yield f"{name}: {before} -> {after}"


def _in(name: str, sections: tuple[str, ...]) -> bool:
    return any(name == section or name.startswith(section + ".") for section in sections)


class _Sources:
    """Sources of the package, each read and parsed once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen: dict[str, tuple[str, list[str]] | None] = {}

    def family(self, module: str) -> list[str]:
        """Modules of the model family whose config stands in `module`: one file, or all files of its package."""
        package = module.rpartition(".")[0]
        if package == "mmgen.models":
            return [module]
        files = sorted(self._root.joinpath(*package.split(".")).glob("[!_]*.py"))
        return [f"{package}.{file.stem}" for file in files]

    def closure(self, *entries: str) -> dict[str, str]:
        """Module name -> sha256 (shortened) of every module that `entries` import, themselves included."""
        found: dict[str, str] = {}
        queue = list(entries)
        for entry in entries:
            if self._read(entry) is None:
                raise ConfigError(f"module {entry!r} has no source below {str(self._root)!r}; run from a clone")
        while queue:
            name = queue.pop()
            module = self._read(name)
            if name in found or module is None:
                continue
            found[name] = module[0]
            queue += module[1]
        return dict(sorted(found.items()))

    def _read(self, name: str) -> tuple[str, list[str]] | None:
        """Digest and imports of a module; None for what is no module with a source of ours."""
        if name not in self._seen:
            path = self._root.joinpath(*name.split("."))
            files = [file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()]
            self._seen[name] = None
            if files:
                source = files[0].read_bytes()
                package = name if files[0].name == "__init__.py" else name.rpartition(".")[0]
                imports = [module for module in _imports(ast.parse(source), package) if _followed(module)]
                self._seen[name] = (hashlib.sha256(source).hexdigest()[:LENGTH], imports)
        return self._seen[name]


def _followed(module: str) -> bool:
    # The package's own __init__ only offers names of the library to its users.
    return module.startswith("mmgen.") and not _in(module, COSMETIC)


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Every name that may be an imported module, parent packages included, since importing runs them."""
    for node in _run_time(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join([*parts[: len(parts) + 1 - node.level], *filter(None, [node.module])])
            base = base if node.level else node.module or ""
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            steps = name.split(".")
            yield from (".".join(steps[: n + 1]) for n in range(len(steps)))


def _run_time(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below `node` but the branches that only a type checker reads."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield other
                yield from _run_time(other)
            continue
        yield child
        yield from _run_time(child)
