"""Weights on disk: what a full disk and a broken file come to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmgen.errors import StorageError
from mmgen.weights import load_tensors, save_tensors

CHILD = """
import resource, signal, sys
from pathlib import Path
import torch
from mmgen.errors import StorageError
from mmgen.weights import save_tensors

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_tensors(Path(sys.argv[1]), {"x": torch.zeros(1_000_000)})
except StorageError as error:
    print(error)
"""


def test_a_disk_that_takes_no_more_is_said_in_one_line_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_tensors(path, {"x": torch.ones(3)})

    done = subprocess.run([sys.executable, "-c", CHILD, str(path)], capture_output=True, text=True, check=True)

    assert done.stdout.startswith(f"could not write '{path}'")
    assert done.stdout.count("\n") == 1
    assert torch.equal(load_tensors(path)["x"], torch.ones(3))
    assert [file.name for file in tmp_path.iterdir()] == ["weights.safetensors"]


@pytest.mark.parametrize("content", [b"", b"\x00" * 40, b"\xff" * 8 + b"{}"])
def test_a_file_that_is_no_safetensors_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)

    with pytest.raises(StorageError, match="cannot be loaded"):
        load_tensors(path)
