"""Output of commands on standard output, and exit codes that are a result."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

KEPT_CHAMPION = 30
"""Exit code when the gate kept the champion: an answer, not an error."""


def answer(value: Any) -> None:
    """Print a JSON value on standard output."""
    click.echo(json.dumps(value, indent=1, allow_nan=False))


def show_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
