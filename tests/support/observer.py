"""What a command does, told by the packages it imports and the programs it starts rather than by the time it takes."""

from __future__ import annotations

import os
from pathlib import Path

SITE = """
import os, sys

file = os.open(os.environ["OBSERVED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
seen = set()

def observe(event, args):
    if event == "import":
        told = "import " + args[0].partition(".")[0]
    elif event == "subprocess.Popen":
        told = "start " + " ".join(os.fsdecode(word) for word in args[1])
    else:
        return
    if told not in seen:
        seen.add(told)
        os.write(file, (told.replace(chr(10), " ") + chr(10)).encode())

sys.addaudithook(observe)
"""
"""What Python runs first in the command, and in every Python process that it starts."""

HEAVY = frozenset({"torch", "torchvision", "kfp", "kubernetes", "great_expectations", "matplotlib"})
"""Packages of which each costs seconds to import, and that a command with nothing to do has no use for."""


class Observer:
    """Watches one command and the Python processes below it.

    Args:
        folder: for its own files.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "sitecustomize.py").write_text(SITE)
        self._folder, self._notes = folder, folder / "notes"
        self._notes.touch()

    def environment(self, pythonpath: str) -> dict[str, str]:
        """What the command's environment holds besides; `pythonpath` is the one that it would have."""
        return {"PYTHONPATH": f"{self._folder}{os.pathsep}{pythonpath}", "OBSERVED": str(self._notes)}

    @property
    def imported(self) -> set[str]:
        """Top packages that were imported or looked for."""
        return self._told("import")

    @property
    def started(self) -> set[str]:
        """Command lines of programs that were started."""
        return self._told("start")

    def _told(self, kind: str) -> set[str]:
        notes = [line.partition(" ") for line in self._notes.read_text().splitlines()]
        return {what for found, _, what in notes if found == kind}
