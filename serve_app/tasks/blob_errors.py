"""Why bytes could not be stored or read, in words that name no key, no address and no credentials."""

from __future__ import annotations

import os
import re

from obstore.exceptions import NotFoundError, PermissionDeniedError, UnauthenticatedError

_OS_ERROR = re.compile(r"(?:\(os error |^\[Errno )(\d+)")  # of obstore, of Python
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")  # S3's word for what was wrong


class BlobMissing(LookupError):
    """There is nothing under this key."""


class BlobExists(Exception):
    """Somebody else wrote under this key first."""


class BlobsUnavailable(Exception):
    """The store cannot be reached, is full, or gave no answer in time. It may work later.

    What was to be written is there wholly or not at all; which of the two, nobody knows where no answer came.
    The text says why, for operators; it names no key, no address and no credentials.
    """


class BlobsRefused(BlobsUnavailable):
    """The store will not work before somebody changes something: credentials, rights, the bucket, the server."""


def translated(error: Exception) -> BlobMissing | BlobsUnavailable:
    """What obstore raised, which quotes URLs, keys and answers, as an error of ours."""
    text = str(error)
    code = match[1] if (match := _CODE.search(text)) else ""
    if code == "NoSuchBucket":
        return BlobsRefused("there is no such bucket")
    if isinstance(error, (NotFoundError, FileNotFoundError)):
        return BlobMissing("there is nothing under this key")
    if match := _OS_ERROR.search(text):
        words = os.strerror(int(match[1])).lower()
        return BlobsRefused(words) if isinstance(error, (PermissionDeniedError, PermissionError)) else BlobsUnavailable(words)
    status = match[1] if (match := _STATUS.search(text)) else ""
    if status in {"401", "403"} or isinstance(error, (PermissionDeniedError, UnauthenticatedError)):
        return BlobsRefused(f"access is denied ({code or 'without a reason'}): the credentials in AWS_*, or their rights")
    if status:
        said = f"the server answered {status} {code}".rstrip()
        return BlobsRefused(said) if status == "501" else BlobsUnavailable(said)
    if "kind: Timeout" in text:
        return BlobsUnavailable("no answer in time")
    return BlobsUnavailable("no connection to the server")
