"""The container images that components run in, by role: the only place where one is named.

Roles become full names with a digest when a pipeline is compiled (pipelines/cluster/images.py). The local runner uses
this machine's Python instead, and warns about images whose name does not say python.
"""

from __future__ import annotations

CPU = "mmgen-python-cpu"
"""No torch in it: what checks, decides, registers and reports."""
GPU = "mmgen-python-gpu"
"""The same with torch: what trains, or asks a model."""
