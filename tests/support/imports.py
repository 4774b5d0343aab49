"""Who imports whom, read from the sources: rings, and imports that climb from a room to one above it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

Graph = dict[str, set[str]]
"""File -> files that it imports, anywhere in it, also for a type checker only; as paths below the root."""


def imported_names(tree: ast.AST) -> Iterator[str]:
    """Every imported name: `from a.b import c` gives a.b.c, `import a.b` gives a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def graph(root: Path, *packages: str) -> Graph:
    """The imports among the files of packages below `root`."""
    files = {path.relative_to(root).as_posix() for package in packages for path in (root / package).rglob("*.py")}
    found: Graph = {}
    for file in sorted(files):
        tree = ast.parse((root / file).read_text(encoding="utf-8"))
        named = {_file(name, files) for name in imported_names(tree)}
        found[file] = {name for name in named if name is not None and name != file}
    return found


def _file(name: str, files: set[str]) -> str | None:
    """The file of a module, or of the module that a name is taken from."""
    for module in (name, name.rpartition(".")[0]):
        path = module.replace(".", "/")
        for file in (f"{path}.py", f"{path}/__init__.py"):
            if file in files:
                return file
    return None


def rings(found: Graph) -> list[str]:
    """One line for each ring of imports that a walk from file to file closes: `a.py -> b.py -> a.py`."""
    lines: list[str] = []
    done: set[str] = set()

    def walk(file: str, way: list[str]) -> None:
        if file in way:
            lines.append(" -> ".join([*way[way.index(file) :], file]))
        elif file not in done:
            for other in sorted(found[file]):
                walk(other, [*way, file])
            done.add(file)

    for file in found:
        walk(file, [])
    return lines


def climbs(found: Graph, house: str, floors: Mapping[int, tuple[str, ...]]) -> list[str]:
    """One line for each import from a room of `house` to a room that is not on a floor below it.

    Args:
        house: folder of the rooms, such as `mmgen/ops`.
        floors: number of a floor -> its rooms.
    """
    floor = {room: number for number, rooms in floors.items() for room in rooms}
    lines = []
    for file, others in found.items():
        room = _room(file, house)
        if room is not None and room not in floor:
            lines.append(f"{file} lies in no room of {house}")
        for other in sorted(others):
            there = _room(other, house)
            if room is None or there is None or room == there or not {room, there} <= floor.keys():
                continue
            if floor[there] >= floor[room]:
                lines.append(f"{file} (floor {floor[room]}) imports {other} (floor {floor[there]})")
    return lines


def _room(file: str, house: str) -> str | None:
    """The room of a file; its own name for one that lies in none; None outside of the house."""
    inside = file.removeprefix(f"{house}/")
    return None if inside == file or inside == "__init__.py" else inside.partition("/")[0]
