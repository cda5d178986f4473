"""The bytes of a task: its two pictures in, its picture out, in a folder or any object store that obstore knows."""

from __future__ import annotations

import asyncio
import re
import uuid
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError, NotFoundError
from obstore.store import LocalStore, ObjectStore, from_url

_KEY = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+(\.[A-Za-z0-9]+)?)+")


class BlobMissing(LookupError):
    """There is nothing under this key."""


class BlobExists(Exception):
    """Somebody else wrote under this key first."""


class BlobStore:
    """Bytes under keys `inputs/{id}/source`, `inputs/{id}/target` and `results/{name}`. Raises ValueError for a key of another form.

    A blob that was put outlives the death of this process, whole or not at all. A folder does not sync its files to the disk,
    so a power cut may take the last seconds' worth.
    """

    def __init__(self, where: str | Path) -> None:
        """A folder, made where it is missing, or a URL such as s3://bucket/prefix."""
        self._store: ObjectStore
        if isinstance(where, str) and "://" in where and not where.startswith("file://"):
            self._store = from_url(where)
        else:
            folder = Path(str(where).removeprefix("file://"))
            self._store = LocalStore(folder.absolute(), mkdir=True, automatic_cleanup=True)

    async def put(self, key: str, data: bytes) -> None:
        """Write or overwrite."""
        await obstore.put_async(self._store, _checked(key), data, use_multipart=False)

    async def put_new(self, key: str, data: bytes) -> None:
        """Write. Raises BlobExists where there is something already; of two writers at once, one is told so."""
        try:
            await obstore.put_async(self._store, _checked(key), data, mode="create", use_multipart=False)
        except AlreadyExistsError as error:
            raise BlobExists(key) from error

    async def get(self, key: str) -> bytes:
        """Raises BlobMissing."""
        try:
            found = await obstore.get_async(self._store, _checked(key))
            return bytes(await found.bytes_async())
        except (NotFoundError, FileNotFoundError) as error:
            raise BlobMissing(key) from error

    async def delete(self, *keys: str) -> None:
        """Delete what is there of these keys."""
        for key in keys:
            try:
                await obstore.delete_async(self._store, _checked(key))
            except (NotFoundError, FileNotFoundError):
                continue

    async def probe(self) -> None:
        """Write, read and delete a few bytes. Raises what goes wrong."""
        key, data = f"probes/{uuid.uuid4().hex}", b"probe"
        await self.put(key, data)
        if await self.get(key) != data:
            raise OSError("what was read is not what was written")
        await self.delete(key)

    async def put_inputs(self, id: str, source: bytes, target: bytes) -> None:
        """Write both pictures of a new task. Raises BlobExists when another task has this id, and then leaves that one's bytes alone.

        The source goes first and makes the id ours: two submits that drew the same id at once never mix their pictures.
        """
        source_key, target_key = _input_keys(id)
        await self.put_new(source_key, source)
        try:
            await self.put(target_key, target)
        except BaseException:
            await asyncio.shield(self.delete_inputs(id))
            raise

    async def get_inputs(self, id: str) -> tuple[bytes, bytes]:
        """Source and target of a task. Raises BlobMissing."""
        source_key, target_key = _input_keys(id)
        source, target = await asyncio.gather(self.get(source_key), self.get(target_key))
        return source, target

    async def delete_inputs(self, id: str) -> None:
        """Delete both pictures that came in; the result stays."""
        await self.delete(*_input_keys(id))

    async def ids_with_inputs(self) -> list[str]:
        """Tasks of which a picture that came in is still here."""
        found = await obstore.list_with_delimiter_async(self._store, "inputs/")
        return [prefix.rstrip("/").rpartition("/")[2] for prefix in found["common_prefixes"]]


def _input_keys(id: str) -> tuple[str, str]:
    return f"inputs/{id}/source", f"inputs/{id}/target"


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError(f"not a blob key: {key!r}")
    return key
