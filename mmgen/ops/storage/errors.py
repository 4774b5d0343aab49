"""What goes wrong at an object store, in one line: the object, the cause, the way out.

Messages are made of names that we know. What a server said is left out, since it may hold what we sent: signatures,
session tokens.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from mmgen.errors import StorageError

LOGIN = "check the credentials and what they may do (docs/stores.md lists it)"
LATER = "run again when it is well; what was done is kept"
ADDRESS = "check AWS_ENDPOINT_URL_S3 and the network"

CAUSES = {
    "404": ("is not there", "check the address, or run what makes it"),
    "NoSuchKey": ("is not there", "check the address, or run what makes it"),
    "NoSuchBucket": ("there is no such bucket", "make it, or correct the address"),
    "NoSuchUpload": ("the upload was aborted by somebody else", LATER),
    "403": ("access is denied", LOGIN),
    "AccessDenied": ("access is denied", LOGIN),
    "InvalidAccessKeyId": ("the key id is unknown", LOGIN),
    "SignatureDoesNotMatch": ("the secret key is wrong", LOGIN),
    "ExpiredToken": ("the session has expired", LOGIN),
    "NoCredentialsError": ("no credentials were found", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role"),
    "PartialCredentialsError": ("the credentials are not whole", LOGIN),
    "EndpointConnectionError": ("the store cannot be reached", ADDRESS),
    "ConnectTimeoutError": ("the store cannot be reached in time", ADDRESS),
    "ReadTimeoutError": ("the store does not answer", LATER),
    "SlowDown": ("the store is overloaded", LATER),
    "BadDigest": ("the bytes that arrived are not those that were sent", LATER),
}
"""Error code of S3, or name of boto3's exception -> cause and way out."""

PASSING = {"SlowDown", "BadDigest", "RequestTimeout", "ConditionalRequestConflict", "429", "408"}
"""Codes below 500 after which another attempt may do."""

FINAL = {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "ParamValidationError"}
"""Exceptions of boto3 that come before any request."""


class PassingError(StorageError):
    """Another attempt may do."""


class Late(Exception):  # noqa: N818  a signal between our own functions
    """The deadline of an operation has passed."""


class Cut(Exception):  # noqa: N818
    """What came is not what was asked for."""


def refusal(where: str, code: str, status: int = 0) -> str:
    """The line for an error code of S3, or the name of an exception."""
    unknown = f"the store failed with {code}" if code != str(status) else "the store failed"
    cause, way_out = CAUSES.get(code, (unknown, LATER if status >= 500 else ADDRESS))
    return f"{where!r}: {cause}{f' (HTTP {status})' if status else ''}; {way_out}"


@contextlib.contextmanager
def flawed(where: str) -> Iterator[None]:
    """Turn every error of boto3, and of the network below it, into a StorageError about `where`.

    Raises:
        StorageError: as a PassingError when another attempt may do.
    """
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except Late:
        raise StorageError(f"{where!r}: the store took too long; {LATER}") from None
    except Cut as error:
        way_out = "run again; if that does not help, delete it there and make it anew"
        raise PassingError(f"{where!r} is not what was stored: {error}; {way_out}") from None
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        code = code if code.isalnum() and len(code) < 60 else "an unknown error"
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        kind = PassingError if status >= 500 or code in PASSING else StorageError
        raise kind(refusal(where, code, status)) from None
    except HTTPClientError as error:
        if isinstance(error.kwargs.get("error"), Late):  # boto3 wraps what the body of a request raises
            raise StorageError(f"{where!r}: the store took too long; {LATER}") from None
        raise PassingError(refusal(where, type(error).__name__)) from None
    except BotoCoreError as error:
        kind = StorageError if type(error).__name__ in FINAL else PassingError
        raise kind(refusal(where, type(error).__name__)) from None
    except HTTPError as error:
        raise PassingError(refusal(where, type(error).__name__)) from None
    except ValueError as error:  # an endpoint that is no URL
        raise StorageError(f"{where!r}: {type(error).__name__} of boto3; {ADDRESS}") from None
