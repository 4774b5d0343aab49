"""The container images that components run in: the only place where one is named."""

from __future__ import annotations

CPU = "mmgen-python:0.1.0"
"""Built from this repository. The local runner uses this machine's Python instead, and warns about images
whose name does not say python."""
