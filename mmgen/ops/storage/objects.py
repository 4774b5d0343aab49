"""An S3 bucket as a store of files: retried, bounded in time, checked by sha256 on both ends.

    up     the file is hashed, each request carries the MD5 of its bytes, which the server checks, and the sha256
           stays with the object as metadata
    down   the bytes are hashed as they come and compared with what the caller expects, else with that metadata;
           nothing stands under the final name before

Endpoint, region and credentials come from where boto3 finds them. One request is one attempt: boto3's own retries are
off, since they know neither of a deadline nor of a body that was cut or altered on its way.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import hashlib
import io
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmgen.errors import ConfigError, StorageError
from mmgen.files import sha256_file, whole_file
from mmgen.ops.storage.bodies import CHUNK, Slice, md5
from mmgen.ops.storage.errors import Cut, Late, flawed, refusal
from mmgen.ops.storage.retries import Attempts, Limits

SCHEME = "s3://"
SMALL = 64 << 20
"""Bytes that are taken into memory at most."""


@dataclass(frozen=True)
class ObjectStore:
    """The objects below `s3://bucket/prefix`; keys are relative to the prefix.

    Every method raises StorageError, naming the object, the cause and the way out, when the store refuses for good,
    does not answer in time, or hands out bytes that are not those that were asked for.
    """

    bucket: str
    prefix: str = ""
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def at(cls, url: str, limits: Limits | None = None) -> ObjectStore:
        """The store at `s3://bucket/prefix`.

        Raises:
            ConfigError: it is no such address.
        """
        found = re.fullmatch(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(/[A-Za-z0-9_.=/-]*)?", url)
        parts = (found[2] or "").strip("/").split("/") if found else []
        if found is None or any(part in (".", "..") or (not part and len(parts) > 1) for part in parts):
            shown = re.sub(r"//[^/]*@|[?].*", "//***", url)  # a login or a signature is not repeated
            raise ConfigError(f"{shown!r} is no address of a store; write s3://bucket/prefix, without login or query")
        return cls(found[1], "/".join(parts), limits or Limits())

    @property
    def url(self) -> str:
        """`s3://bucket/prefix`."""
        return f"{SCHEME}{self.bucket}/{self.prefix}".rstrip("/")

    def put_file(self, path: Path, key: str, *, sha256: str | None = None) -> None:
        """Store a file; a large one in parts, several at once, of which none is in memory as a whole.

        Args:
            sha256: what the file is known to hold, by its seal for instance; one that holds something else is refused.
        """
        size = path.stat().st_size
        attempts = self._attempts(key, size)
        if size <= self.limits.part_bytes:
            found = sha256_file(path)
            _expect(path, found, sha256)
            attempts(lambda ends: self._put_slice(Slice(path, 0, size, ends), "put_object", key, _metadata(found)))
            return
        with concurrent.futures.ThreadPoolExecutor(1) as aside:
            # With a known hash the file is checked while it goes up; it only becomes an object when that agrees.
            found_later = aside.submit(sha256_file, path)
            known = sha256 or found_later.result()
            upload = attempts(
                lambda _: self._client.create_multipart_upload(**self._names(key), **_metadata(known))["UploadId"]
            )
            try:
                parts = self._put_parts(path, key, upload, attempts)
                _expect(path, found_later.result(), known)
                attempts(lambda _: self._complete(key, upload, parts))
            except BaseException:
                with contextlib.suppress(Exception):  # what stays then is swept by the bucket's own rule
                    self._client.abort_multipart_upload(**self._names(key), UploadId=upload)
                raise

    def get_file(self, key: str, path: Path, *, sha256: str | None = None, size: int | None = None) -> None:
        """Fetch an object into `path`, which is whole and right, or as it was before.

        Args:
            sha256: what is expected; without it, what was stored with the object.
            size: bytes that are expected.
        """
        size = self._size(key) if size is None else size
        with whole_file(path) as scratch:

            def fetch(ends: float) -> None:
                with scratch.open("wb") as file:
                    self._receive(key, ends, file, sha256, size)

            self._attempts(key, size)(fetch)

    def put_bytes(self, content: bytes, key: str, *, if_absent: bool = False, etag: str | None = None) -> str | None:
        """Store a few bytes; returns their etag, or None when a condition does not hold.

        Args:
            if_absent: only when there is no such object, or it holds these very bytes.
            etag: only when the object is still the one with this etag.
        """
        more: dict[str, str] = {"IfNoneMatch": "*"} if if_absent else {"IfMatch": etag} if etag else {}
        more |= _metadata(hashlib.sha256(content).hexdigest())

        def put(_: float) -> str | None:
            try:
                answer = self._client.put_object(
                    **self._names(key), Body=content, ContentMD5=md5(io.BytesIO(content)), **more
                )
                return str(answer["ETag"])
            except self._client.exceptions.ClientError as error:
                if error.response["ResponseMetadata"].get("HTTPStatusCode") != 412:
                    raise
                return None

        if (stored := self._attempts(key)(put)) is not None:
            return stored
        # An attempt of ours may have been stored although its answer was lost.
        found, now = self.get_bytes(key)
        return now if found == content else None

    def get_bytes(self, key: str) -> tuple[bytes, str]:
        """Content and etag of a small object; a large one is refused."""

        def fetch(ends: float) -> tuple[bytes, str]:
            into = io.BytesIO()
            etag = self._receive(key, ends, into, None, None)
            return into.getvalue(), etag

        return self._attempts(key)(fetch)

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        return self._head(key) is not None

    def keys(self, below: str = "") -> Iterator[str]:
        """Keys that begin with `below`."""
        token: dict[str, str] = {}
        prefix, skip = self._names(below)["Key"], len(self.prefix) + bool(self.prefix)
        while True:
            ask = functools.partial(self._client.list_objects_v2, Bucket=self.bucket, Prefix=prefix, **token)
            page = self._attempts(below)(lambda _, ask=ask: ask())  # type: ignore[misc]
            yield from (item["Key"][skip:] for item in page.get("Contents", ()))
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        self._attempts(key)(lambda _: self._client.delete_object(**self._names(key)))

    @functools.cached_property
    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        config = Config(
            retries={"total_max_attempts": 1},
            connect_timeout=self.limits.connect_seconds,
            read_timeout=self.limits.read_seconds,
            max_pool_connections=4 * self.limits.threads,
            # Not every server that speaks S3 knows boto3's own checksums (boto/boto3#4398); MD5 they all check.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        with flawed(self.url):
            return boto3.session.Session().client("s3", config=config)

    def _names(self, key: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": f"{self.prefix}/{key}" if self.prefix else key}

    def _attempts(self, key: str, size: int = 0) -> Attempts:
        return Attempts(self.limits, f"{self.url}/{key}", size)

    def _head(self, key: str) -> Any:
        """What is known of an object; None when there is none."""

        def ask(_: float) -> Any:
            try:
                return self._client.head_object(**self._names(key))
            except self._client.exceptions.ClientError as error:
                if error.response["ResponseMetadata"].get("HTTPStatusCode") != 404:
                    raise
                return None

        return self._attempts(key)(ask)

    def _size(self, key: str) -> int:
        head = self._head(key)
        if head is None:
            raise StorageError(refusal(f"{self.url}/{key}", "NoSuchKey"))
        return int(head["ContentLength"])

    def _receive(self, key: str, ends: float, into: Any, sha256: str | None, size: int | None) -> str:
        """One attempt to stream an object into a file; returns its etag."""
        answer = self._client.get_object(**self._names(key))
        expected = sha256 or answer["Metadata"].get("sha256")
        found, left = hashlib.sha256(), int(answer["ContentLength"])
        with contextlib.closing(answer["Body"]) as body:
            if left != size and (size is not None or left > SMALL):
                raise Cut(f"it has {left} bytes, not {f'at most {SMALL}' if size is None else size}")
            # Not body.read, which returns when a chunk is full: a server that drips bytes would outlast any deadline.
            while left and (chunk := body._raw_stream.read1(min(left, CHUNK))):
                if time.monotonic() >= ends:
                    raise Late
                found.update(chunk)
                into.write(chunk)
                left -= len(chunk)
        if left:
            raise Cut(f"{left} bytes are missing at its end")
        if expected is not None and found.hexdigest() != expected:
            raise Cut(f"sha256 is {found.hexdigest()[:12]}, not {expected[:12]}")
        return str(answer["ETag"])

    def _put_slice(self, body: Slice, method: str, key: str, more: dict[str, Any]) -> str:
        with contextlib.closing(body):
            sent = getattr(self._client, method)(**self._names(key), Body=body, ContentMD5=md5(body), **more)
        return str(sent["ETag"])

    def _put_parts(self, path: Path, key: str, upload: str, attempts: Attempts) -> list[dict[str, Any]]:
        """Upload all parts, `threads` at once; the first one that fails for good stops the others."""
        size, stop = path.stat().st_size, threading.Event()
        # S3 takes ten thousand parts at most.
        step = max(self.limits.part_bytes, -(-size // 10_000))

        def put(number: int) -> dict[str, Any]:
            def attempt(ends: float) -> str:
                body = Slice(path, (number - 1) * step, min(step, size - (number - 1) * step), ends, stop)
                return self._put_slice(body, "upload_part", key, {"UploadId": upload, "PartNumber": number})

            return {"PartNumber": number, "ETag": attempts(attempt)}

        with concurrent.futures.ThreadPoolExecutor(self.limits.threads) as pool:
            futures = [pool.submit(put, number) for number in range(1, -(-size // step) + 1)]
            try:
                return [future.result() for future in futures]
            except BaseException:
                stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _complete(self, key: str, upload: str, parts: list[dict[str, Any]]) -> None:
        try:
            self._client.complete_multipart_upload(
                **self._names(key), UploadId=upload, MultipartUpload={"Parts": parts}
            )
        except self._client.exceptions.NoSuchUpload:
            if self._head(key) is None:  # else an attempt of ours was completed, and its answer was lost
                raise


def _metadata(sha256: str) -> dict[str, Any]:
    return {"Metadata": {"sha256": sha256}}


def _expect(path: Path, found: str, sha256: str | None) -> None:
    if sha256 is not None and found != sha256:
        raise StorageError(
            f"{str(path)!r} has sha256 {found[:12]}, not {sha256[:12]}: it was altered; run its stage again"
        )
