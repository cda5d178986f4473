"""The InsightFace family's files: which ones there are, what to look for in a folder, and whether what lies there is it.

The weights are for non-commercial research only and are not ours to hand out: an operator puts them into a folder. Files are
judged by their signature, before anything is loaded; size and hash only tell which published file it is, since good copies
with other hashes are about.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from serve_app.engines.arcface import is_recogniser
from serve_app.engines.inswapper import is_hyperswap, is_inswapper
from serve_app.engines.onnxfile import OnnxFileError, Signature, read_signature
from serve_app.engines.scrfd import is_detector

Role: TypeAlias = Literal["detector", "recogniser", "swapper", "hyperswap"]
ROLES: tuple[Role, ...] = ("detector", "recogniser", "swapper")
TESTS: dict[Role, Callable[[Signature], bool]] = {
    "detector": is_detector,
    "recogniser": is_recogniser,
    "swapper": is_inswapper,
    "hyperswap": is_hyperswap,
}
ARTICLES: dict[Role, str] = {
    "detector": "a face detector",
    "recogniser": "a face recogniser",
    "swapper": "an inswapper",
    "hyperswap": "a hyperswap, which must be named in the settings",
}
LICENCE = "non-commercial research only"
CONTACTS: dict[Role, str] = {  # whom to ask for a commercial licence
    "detector": "recognition-oss-pack@insightface.ai",
    "recogniser": "recognition-oss-pack@insightface.ai",
    "swapper": "contact@insightface.ai",
}


@dataclass(frozen=True, slots=True)
class Published:
    """A file as its authors or others have handed it out. size: bytes, 0 where not known. fits: whether this family uses it."""

    name: str
    role: Role
    size: int
    sha256: str
    fits: bool = True


PUBLISHED: tuple[Published, ...] = (
    Published("det_10g.onnx", "detector", 16_923_827, "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91"),
    Published("w600k_r50.onnx", "recogniser", 174_383_860, "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43"),
    Published("inswapper_128.onnx", "swapper", 554_253_681, "e4a3f08c753cb72d04e10aa0f7dbe3deebbf39567d4ead6dce08e98aa49e16af"),
    # An older copy that others have handed on.
    Published("inswapper_128.onnx", "swapper", 0, "a290273ed497312095dac48cdef20feec9d5208298223dd01288ab202b54bea7"),
    Published("inswapper_128_fp16.onnx", "swapper", 277_680_638, "6d51a9278a1f650cffefc18ba53f38bf2769bf4bbff89267822cf72945f8a38b"),
    Published("inswapper_128_fp16.onnx", "swapper", 277_680_829, "98fae14454ae714f31b4fe43a8907661c6b496ccbc5cb62c7219d8196d92bf21"),
    # Another space than the one inswapper_128 was trained with: it would swap in a stranger.
    Published("glintr100.onnx", "recogniser", 0, "4ab1d6435d639628a6f3e5008dd4f929edf4c4124b1a7169e1048f9fef534cdf", fits=False),
)
NAMES: dict[Role, str] = {"detector": "det_10g.onnx", "recogniser": "w600k_r50.onnx", "swapper": "inswapper_128.onnx"}
FAMILY = "insightface"


@dataclass(frozen=True, slots=True)
class Row:
    """One file of a folder, or one that is missing from it.

    size_ok: whether the size is that of a published file of this name; None where none is known, or no file there.
    known: whether the sha256 is a published one; None when it was not computed. batchable: whether its signature lets
    several items run at a time; the engines test it when they load. problem: why it cannot be used; warning: what to know.
    """

    name: str
    present: bool
    size: int = 0
    size_ok: bool | None = None
    sha256: str = ""
    known: bool | None = None
    role: Role | None = None
    family: str = ""
    signature: str = ""
    batchable: bool | None = None
    licence: str = ""
    problem: str = ""
    warning: str = ""


def check(folder: Path, *, hashes: bool = True) -> list[Row]:
    """Every ONNX file in `folder`, and every one that the family needs and that is not there. hashes: read them all, 0.75 GB."""
    rows = [_row(path, hashes=hashes) for path in _files(folder)]
    missing = [role for role in ROLES if not any(row.role == role for row in rows)]
    named = {row.name for row in rows}
    rows += [
        Row(NAMES[role], present=False, role=role, family=FAMILY, problem=f"{NAMES[role]} ({ARTICLES[role]}) is missing from {folder}")
        for role in missing
        if NAMES[role] not in named
    ]
    return rows


def require_insightface(folder: Path) -> dict[Role, Path]:
    """Where the family's detector, recogniser and swapper lie in `folder`.

    A file is taken by its published name, else by its signature where only one fits. Nothing is hashed or loaded.
    Raises RuntimeError that names everything that is wrong, one line each.
    """
    rows = check(folder, hashes=False)
    found: dict[Role, Path] = {}
    problems = [row.problem for row in rows if row.problem and (row.name in NAMES.values() or not row.present)]
    for role in ROLES:
        fitting = [row for row in rows if row.present and row.role == role and not row.problem]
        preferred = [row for row in fitting if row.name == NAMES[role]] or fitting
        if len(preferred) == 1:
            found[role] = folder / preferred[0].name
        elif preferred:
            names = " and ".join(row.name for row in preferred)
            problems.append(f"{names} could each be {ARTICLES[role]}: keep one, or name it {NAMES[role]}")
        elif not any(NAMES[role] in problem for problem in problems):
            problems += [row.problem for row in rows if row.role == role and row.problem] or [f"{NAMES[role]} is missing from {folder}"]
    if problems:
        raise RuntimeError("the InsightFace models cannot be used:\n" + "\n".join(f"- {problem}" for problem in dict.fromkeys(problems)))
    return found


def role_of(signature: Signature) -> Role | None:
    return next((role for role, test in TESTS.items() if test(signature)), None)


def table(rows: Sequence[Row]) -> str:
    """For people: one line a file, then what is wrong or worth knowing."""
    head = ("file", "present", "size", "sha256", "role", "batchable", "licence")
    lines: list[tuple[str, ...]] = [head]
    for row in rows:
        size = f"{row.size:,}" + {True: "", False: " (unexpected)", None: ""}[row.size_ok] if row.present else ""
        known = {True: "known", False: "not known", None: "-"}[row.known]
        batchable = {True: "yes", False: "no", None: "-"}[row.batchable]
        lines.append((row.name, "yes" if row.present else "no", size, known, row.role or "-", batchable, row.licence or "-"))
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    text += [f"problem: {row.problem}" for row in rows if row.problem]
    text += [f"warning: {row.warning}" for row in rows if row.warning]
    return "\n".join(text)


def _files(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.glob("*.onnx") if path.is_file()) if folder.is_dir() else ()


def _row(path: Path, *, hashes: bool) -> Row:
    size = path.stat().st_size
    sizes = [each.size for each in PUBLISHED if each.name == path.name and each.size]
    size_ok = size in sizes if sizes else None
    try:
        signature = read_signature(path)
    except OnnxFileError as error:
        expected = f"; {path.name} as published has {' or '.join(f'{n:,}' for n in sizes)} bytes" if sizes else ""
        return Row(path.name, present=True, size=size, size_ok=size_ok, problem=f"{error}{expected}")
    role = role_of(signature)
    digest = _sha256(path) if hashes else ""
    twin = next((each for each in PUBLISHED if each.sha256 == digest), None)
    return Row(
        path.name,
        present=True,
        size=size,
        size_ok=size_ok,
        sha256=digest,
        known=twin is not None if hashes else None,
        role=role,
        family=_family(role),
        signature=str(signature),
        batchable=None if role is None else True,
        licence=_licence(path.name, twin),
        problem=_problem(path.name, role, signature, twin),
        warning=_warning(path.name, digest, size_ok, twin) if role is not None else "",
    )


def _family(role: Role | None) -> str:
    return FAMILY if role in ROLES else role or ""


def _licence(name: str, twin: Published | None) -> str:
    each = twin or next((each for each in PUBLISHED if each.name == name), None)
    return LICENCE if each else ""


def _problem(name: str, role: Role | None, signature: Signature, twin: Published | None) -> str:
    wanted = next((each for each, usual in NAMES.items() if usual == name), None)
    if wanted is not None and role != wanted:
        what = ARTICLES[role] if role else f"something else, {signature}"
        return f"{name} should be {ARTICLES[wanted]}, and by its signature is {what}"
    if (twin is not None and not twin.fits) or name in _UNFIT:
        return f"{name} is a recogniser whose embeddings mean nothing to inswapper_128: use w600k_r50.onnx"
    return ""


def _warning(name: str, digest: str, size_ok: bool | None, twin: Published | None) -> str:
    if twin is not None:
        return f"{name} is the file published as {twin.name}" if twin.name != name else ""
    published: Mapping[str, str] = {each.sha256: each.name for each in PUBLISHED if each.name == name}
    if digest and published:
        return f"{name} has a sha256 that is not known ({digest}); known: {', '.join(published)}"
    if size_ok is False:
        return f"{name} is not as large as any published file of this name"
    return ""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_UNFIT = {each.name for each in PUBLISHED if not each.fits}
