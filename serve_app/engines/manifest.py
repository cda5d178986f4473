"""Which files of the insightface family are known: manifest.toml, to which anybody can add a copy that is about."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

Role: TypeAlias = Literal["detector", "recogniser", "swapper", "hyperswap"]


@dataclass(frozen=True, slots=True)
class Published:
    """A file as its authors or others have handed it out.

    size: bytes, 0 where not known. fits: whether this family can use it. usual: whether it is the one to have of its role.
    """

    name: str
    role: Role
    sha256: str
    size: int = 0
    fits: bool = True
    usual: bool = False

    def __post_init__(self) -> None:
        if self.role not in get_args(Role):
            raise ValueError(f"{self.name}: there is no role {self.role}")
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ValueError(f"{self.name}: a sha256 is 64 of 0-9 and a-f")


@dataclass(frozen=True, slots=True)
class Pack:
    """A zip that holds some of the files."""

    name: str
    sha256: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """contacts: whom to ask for a commercial licence, by role."""

    licence: str
    contacts: Mapping[Role, str]
    files: tuple[Published, ...]
    packs: tuple[Pack, ...]

    @property
    def usual(self) -> dict[Role, Published]:
        """Of every role that the family needs the file to have."""
        return {each.role: each for each in self.files if each.usual}

    def with_hash(self, sha256: str) -> Published | None:
        return next((each for each in self.files if each.sha256 == sha256), None)


def read_manifest(path: Path) -> Manifest:
    """Raises RuntimeError that says what is wrong with the file."""
    try:
        page = tomllib.loads(path.read_text())
        files = tuple(Published(**entry) for entry in page["files"])
        packs = tuple(Pack(each["name"], each["sha256"], tuple(each["files"])) for each in page["packs"])
        return Manifest(page["licence"], page["contacts"], files, packs)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RuntimeError(f"{path} cannot be used: {error!r}") from error


MANIFEST = read_manifest(Path(__file__).with_name("manifest.toml"))
NAMES: dict[Role, str] = {role: each.name for role, each in MANIFEST.usual.items()}
