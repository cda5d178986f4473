"""The bytes of a task: its two pictures in, its picture out, in a folder or in an S3 bucket."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import re
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from serve_app.tasks.blob_errors import BlobExists as BlobExists
from serve_app.tasks.blob_errors import BlobMissing as BlobMissing
from serve_app.tasks.blob_errors import BlobsRefused as BlobsRefused
from serve_app.tasks.blob_errors import BlobsUnavailable as BlobsUnavailable
from serve_app.tasks.blob_errors import translated

if TYPE_CHECKING:
    from obstore import ObjectMeta  # there are no such things at run time
    from obstore.store import ClientConfig, RetryConfig

ANSWER_S = 10.0
_BYTES_A_S = 2_000_000
_LONGEST_S = 300.0
_PORTION = 1000  # keys; a page of S3
_LENGTH = 8  # bytes
_MARKER = ".faceswap"  # in a folder: it is the one that a service began with
_KEY = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+(\.[A-Za-z0-9]+)?)+")
# What fails at once is tried again at once. What gives no answer is not: `_within` ends the call.
_RETRY: RetryConfig = {
    "max_retries": 2,
    "retry_timeout": timedelta(seconds=5),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=1), "base": 2},
}
_OVERWRITES = (
    "the server overwrites what it is told not to (it does not know If-None-Match), so that two tasks could mix their pictures: "
    "use one that knows conditional writes"
)

_GONE = "the folder is gone, or another is mounted there"

_log = logging.getLogger(__name__)
# obstore's threads may still let go of what they returned. One that does so while Python ends aborts the process (obstore 0.12).
atexit.register(time.sleep, 0.1)


class BlobStore:
    """Bytes under keys `inputs/{id}/source`, `inputs/{id}/target`, `inputs/{id}/more` and `results/{name}`.

    Raises ValueError for a key of another form.

    A blob that was put outlives the death of this process, whole or not at all. A folder does not sync its files to the disk,
    so a power cut may take the last seconds' worth.

    Every call raises BlobsUnavailable where the store does not work, at the latest after `answer_s` and what the bytes take at 2 MB/s.
    A folder does not work while it is not there, or another is in its place: an empty mount point takes no pictures and misses none.
    """

    def __init__(self, where: str | Path, *, make: bool = True, answer_s: float = ANSWER_S) -> None:
        """A folder, or s3://bucket/prefix: server and credentials come from the environment, AWS_*.

        make: the folder is made where it is missing and marked as the one; for the start of a service, raises OSError. What opens it
        later must find the mark.
        """
        self._answer_s = answer_s
        self._folder = folder_of(where)
        self._store: ObjectStore | None = None
        self._lists: ObjectStore | None = None
        if self._folder is None:
            self._store = from_url(str(where), client_options=_client(_LONGEST_S), retry_config=_RETRY)
            # A listing that is cancelled while the server has not answered panics later (obstore 0.12): its client has to end it.
            self._lists = from_url(str(where), client_options=_client(answer_s), retry_config={**_RETRY, "max_retries": 0})
        elif make:
            _make(self._folder)

    async def put(self, key: str, data: bytes) -> None:
        """Write or overwrite."""
        async with self._within(len(data)):
            await obstore.put_async(await self._here(), _checked(key), data, use_multipart=False)

    async def put_new(self, key: str, data: bytes) -> None:
        """Write. Raises BlobExists where there is something already; of two writers at once, one is told so."""
        async with self._within(len(data)):
            try:
                await obstore.put_async(await self._here(), _checked(key), data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                raise BlobExists(key) from None

    async def get(self, key: str) -> bytes:
        """Raises BlobMissing."""
        async with self._within():
            found = await obstore.get_async(await self._opened(), _checked(key))
        async with self._within(found.meta["size"]):
            return bytes(await found.bytes_async())

    async def delete(self, *keys: str) -> None:
        """Delete what is there of these keys."""
        wanted = [_checked(key) for key in keys]
        async with self._within():
            store = await self._here()
        # S3 takes many at once and does not mind those that are not there.
        for some in [wanted] if self._folder is None else [[key] for key in wanted]:
            async with self._within():
                with suppress(FileNotFoundError):
                    await obstore.delete_async(store, some)

    async def probe(self) -> None:
        """Write, read and delete a few bytes, and see that none are overwritten. Raises BlobsUnavailable."""
        key, data = f"probes/{uuid.uuid4().hex}", b"probe"
        await self.put_new(key, data)
        try:
            if await self.get(key) != data:
                raise BlobsUnavailable("what is read is not what was written")
            await self.put_new(key, b"another")
        except BlobMissing:
            raise BlobsUnavailable("what was written cannot be read") from None
        except BlobExists:
            await self.delete(key)
        else:
            raise BlobsRefused(_OVERWRITES)

    async def probe_list(self) -> None:
        """See that what is there may be listed, as the sweep does. Raises BlobsUnavailable. Not to be cancelled: see `_lists`."""
        async with aclosing(self._list("probes/")) as portions:
            await anext(portions, None)

    async def put_inputs(self, id: str, source: bytes, target: bytes, more: Sequence[bytes] = ()) -> None:
        """Write the pictures of a new task; more: those beside its two. Raises BlobExists when another task has this id, and then leaves
        that one's bytes alone.

        The source goes first and makes the id ours: two submits that drew the same id at once never mix their pictures.
        """
        source_key, target_key, more_key = _input_keys(id)
        await self.put_new(source_key, source)
        try:
            await self.put(target_key, target)
            if more:
                await self.put(more_key, pack(more))
        except BaseException:
            await asyncio.shield(self.discard_inputs(id))
            raise

    async def get_inputs(self, id: str) -> tuple[bytes, bytes]:
        """Source and target of a task. Raises BlobMissing."""
        source_key, target_key, _ = _input_keys(id)
        source, target = await asyncio.gather(self.get(source_key), self.get(target_key))
        return source, target

    async def get_more(self, id: str) -> list[bytes]:
        """The pictures beside source and target of a task that has some. Raises BlobMissing."""
        return unpack(await self.get(_input_keys(id)[2]))

    async def delete_inputs(self, id: str) -> None:
        """Delete the pictures that came in; the result stays."""
        await self.delete(*_input_keys(id))

    async def discard_inputs(self, id: str) -> None:
        """`delete_inputs` for callers that have something else to say: what cannot be deleted now is left to the sweep."""
        try:
            await self.delete_inputs(id)
        except BlobsUnavailable as error:
            _log.warning("the pictures of task %s are left to the sweep: %s", id, error)

    async def ids_with_inputs(self) -> list[str]:
        """Tasks of which a picture that came in is still here."""
        return sorted({meta["path"].split("/")[1] async for some in self._list("inputs/") for meta in some})

    async def results(self, since: int, until: int) -> AsyncGenerator[list[str]]:
        """Keys of the results of tasks that were submitted in this time (milliseconds since the epoch), in portions."""
        first, end = f"results/{max(since, 0):013}", f"results/{until:013}"
        async with aclosing(self._list("results/", first)) as portions:
            async for some in portions:
                found = [meta["path"] for meta in some]
                if wanted := [key for key in found if key < end]:
                    yield wanted
                if self._folder is None and found[-1] >= end:  # the rest comes later still; a folder is in no order
                    return

    async def tidy(self, before: int) -> None:
        """Delete what dead processes left half-written or unread before this time (milliseconds since the epoch)."""
        old = [meta["path"] async for some in self._list("probes/") for meta in some if meta["last_modified"].timestamp() * 1000 < before]
        await self.delete(*old)
        if self._folder is not None:
            await asyncio.to_thread(_clear, self._folder, before / 1000)

    async def _list(self, prefix: str, after: str | None = None) -> AsyncGenerator[Sequence[ObjectMeta]]:
        """What is there below a prefix such as `results/`, in portions; of a bucket in the order of the keys, beginning after `after`."""
        async with self._within():
            here = await self._here()
        listing = obstore.list(self._lists or here, prefix, offset=after, chunk_size=_PORTION)
        while True:
            try:
                async with self._within(margin_s=1.0):
                    portion = await anext(listing)
            except StopAsyncIteration:
                return
            if portion:
                yield portion

    async def _here(self) -> ObjectStore:
        """The store, to change; a folder only while its mark is there. Raises BlobsUnavailable."""
        store = await self._opened()
        if self._folder is not None:
            try:
                await obstore.head_async(store, _MARKER)  # in threads of obstore's own, of which a dead mount may hold many
            except FileNotFoundError:
                raise BlobsUnavailable(_GONE) from None
        return store

    async def _opened(self) -> ObjectStore:
        """The store, to read from: where something is missing, `_within` asks whether the folder is there. Raises BlobsUnavailable."""
        if self._store is None:
            assert self._folder is not None
            try:
                self._store = await asyncio.to_thread(_open, self._folder)
            except FileNotFoundError:
                raise BlobsUnavailable(_GONE) from None
        return self._store

    @asynccontextmanager
    async def _within(self, size: int = 0, *, margin_s: float = 0.0) -> AsyncIterator[None]:
        """For one call that moves `size` bytes: ends in time, and in errors of ours."""
        seconds = self._answer_s + size / _BYTES_A_S + margin_s
        try:
            async with asyncio.timeout(seconds):
                try:
                    yield
                except FileNotFoundError:
                    await self._here()  # nothing is missing from a folder that has just gone
                    raise
        except TimeoutError:
            raise BlobsUnavailable(f"no answer within {seconds:.0f} s") from None
        except (BaseError, OSError) as error:
            raise translated(error) from None


def folder_of(where: str | Path) -> Path | None:
    """None for a store that is not a folder."""
    if isinstance(where, str) and "://" in where and not where.startswith("file://"):
        return None
    return Path(str(where).removeprefix("file://")).absolute()


def shown(where: str | Path) -> str:
    """For people: without what may be a secret."""
    if (folder := folder_of(where)) is not None:
        return str(folder)
    url = urlsplit(str(where))
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"


def _client(timeout_s: float) -> ClientConfig:
    """timeout_s: of a request that nobody ends before."""
    # An address that says http is a decision; obstore asks for AWS_ALLOW_HTTP besides.
    plain = any(os.environ.get(name, "").startswith("http://") for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"))
    config: ClientConfig = {"connect_timeout": timedelta(seconds=3), "timeout": timedelta(seconds=timeout_s)}
    return {**config, "allow_http": True} if plain else config


def _make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not (marker := folder / _MARKER).exists():  # it may be read-only for the moment
        marker.touch()


def _open(folder: Path) -> LocalStore:
    (folder / _MARKER).stat()  # obstore has no error of its own for a folder that is not there
    return LocalStore(folder, automatic_cleanup=True)


def _clear(folder: Path, before: float) -> None:
    """Files that were being written (their names have a #, until they are whole) and folders with nothing in them."""
    for parent in (folder / "results", folder / "probes", *folder.glob("inputs/*")):
        with suppress(FileNotFoundError):
            for entry in os.scandir(parent):
                if "#" in entry.name and entry.stat().st_mtime < before:
                    os.unlink(entry)
            if parent.parent.name == "inputs" and parent.stat().st_mtime < before:
                with suppress(OSError):  # it is not empty
                    parent.rmdir()


def _input_keys(id: str) -> tuple[str, str, str]:
    return f"inputs/{id}/source", f"inputs/{id}/target", f"inputs/{id}/more"


def pack(pieces: Sequence[bytes]) -> bytes:
    """Several as one: a key for each would have to be guessed, or asked for, by whoever deletes them."""
    return b"".join(part for piece in pieces for part in (len(piece).to_bytes(_LENGTH, "big"), piece))


def unpack(data: bytes) -> list[bytes]:
    """Raises ValueError for what `pack` did not give."""
    pieces, at = [], 0
    while at < len(data):
        start = at + _LENGTH
        at = start + int.from_bytes(data[at:start], "big")
        if at > len(data):
            raise ValueError("a piece is cut off")
        pieces.append(data[start:at])
    return pieces


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError(f"not a blob key: {key!r}")
    return key
