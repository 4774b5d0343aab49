"""Images: named by digest, and none that only stands in for one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mmgen.errors import ConfigError
from mmgen.ops.distributed import cluster_names
from pipelines.cluster.check.findings import Finding, good, missing, unknown
from pipelines.cluster.check.view import View, containers_of
from pipelines.cluster.images import Images, parse

STAND_IN = f"sha256:{'0' * 64}"


def named(words: Sequence[str], dev: bool) -> tuple[Images | None, Finding]:
    """The images that runs shall have, and what is to be said of them."""
    what = "images of tasks"
    if not words:
        return None, unknown(what, "none is named", "set MMGEN_IMAGES, or name them with --image")
    try:
        images = parse(words, dev=dev)
    except ConfigError as error:
        found, _, way_out = str(error).partition("; ")
        return None, missing(what, found, way_out)
    how = "as they are, which marks runs as dirty" if dev else "by digest"
    return images, good(what, f"{images.cpu} and {images.gpu}, {how}")


def deployed(view: View) -> Iterator[Finding]:
    """Images of what runs in the namespace for good."""
    what = "images of servers"
    things = [thing for plural in ("deployments", "statefulsets") for thing in view.items(plural, group="apps/v1")]
    found = {
        f"{thing['metadata']['name']}/{container['name']}": container["image"]
        for thing in things
        if thing["spec"]["template"]["spec"].get("serviceAccountName") == cluster_names.SERVER
        for container in containers_of(thing)
    }
    bad = {name: image for name, image in found.items() if "@sha256:" not in image or image.endswith(STAND_IN)}
    for name, image in bad.items():
        why = "stands in for one that nobody has named" if image.endswith(STAND_IN) else "has no digest"
        yield missing(
            what,
            f"{name} has {image}, which {why}",
            "run: kustomize edit set image in the overlay, as docs/cluster.md says",
        )
    if not bad:
        yield good(what, f"{len(found)} by digest")
