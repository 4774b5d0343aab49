"""The bucket of the runs: write an object, read it back, delete it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

from mmgen.errors import MmgenError
from mmgen.ops.storage.objects import SCHEME, ObjectStore
from mmgen.ops.storage.retries import Limits
from pipelines.cluster.check.findings import Finding, good, missing, of_error, unknown

LIMITS = Limits(attempts=2, connect_seconds=5.0, read_seconds=10.0, seconds=20.0)
"""Of a check, which somebody waits for."""


def bucket(root: str, *, inside: bool = False) -> Iterator[Finding]:
    """What became of an object below a root.

    Args:
        root: MMGEN_ROOT, a folder or `s3://bucket/prefix`.
        inside: Whether a pod asks, which has to reach the store.
    """
    what = "bucket" if inside else "bucket from here"
    if not root.startswith(SCHEME):
        yield unknown(what, f"MMGEN_ROOT is {root!r}, no bucket", "set MMGEN_ROOT=s3://bucket/prefix, or try --pods")
        return
    content = secrets.token_bytes(32)
    try:
        store = ObjectStore.at(root, LIMITS)
        key = f"check/{secrets.token_hex(8)}"
        store.put_bytes(content, key)
        found, _ = store.get_bytes(key)
        store.delete(key)
        left = store.exists(key)
    except MmgenError as error:
        far = not inside and any(piece in str(error) for piece in ("cannot be reached", "too long"))
        yield of_error(what, error, known=not far)
        return
    if found != content or left:
        yield missing(what, f"{store.url} gave back other bytes, or kept what was deleted", "check the server")
    else:
        yield good(what, f"{store.url} takes, gives back and deletes an object")
