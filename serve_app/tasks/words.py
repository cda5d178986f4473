"""Text as both databases keep it: the same order, the same comparisons, the same characters."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Dialect, String, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

_NUL, _UNKNOWN = "\x00", "\ufffd"


class Words(TypeDecorator[str]):
    """VARCHAR of a length, or TEXT, in the order of its code points, as SQLite has it.

    On PostgreSQL that is collation "C": with the system's own, pages would be sorted otherwise than on SQLite, and an upgrade of the
    C library would break the indexes. PostgreSQL has no NUL in text, so it is U+FFFD on both.
    """

    impl = Text
    cache_ok = True

    def __init__(self, length: int | None = None) -> None:
        super().__init__()
        self.length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        collation = "C" if dialect.name == "postgresql" else None
        return dialect.type_descriptor(Text(collation=collation) if self.length is None else String(self.length, collation=collation))

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else value.replace(_NUL, _UNKNOWN)
