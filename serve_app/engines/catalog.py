"""The InsightFace family's files in a folder: which are there, whether they are what they should be, what can run them.

The weights are for non-commercial research only and are not ours to hand out: an operator puts them into a folder. Files are
judged by their signature, before anything is loaded; size and hash only tell which published file it is (manifest.toml), since
good copies with other hashes are about.
"""

from __future__ import annotations

import hashlib
import logging
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from serve_app.engines.arcface import is_recogniser
from serve_app.engines.choice import runtimes_here
from serve_app.engines.inswapper import is_hyperswap, is_inswapper
from serve_app.engines.manifest import MANIFEST, NAMES, Published, Role
from serve_app.engines.onnxfile import OnnxFileError, Signature, read_signature
from serve_app.engines.scrfd import is_detector

logger = logging.getLogger(__name__)

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
FAMILY = "insightface"
WIDTH = 120


@dataclass(frozen=True, slots=True)
class Row:
    """One file of a folder, or one that is missing from it.

    size_ok: whether a published file of its role or name has that size; None without such a file, or where none is known.
    known: whether the sha256 is a published one; None when it was not computed. runtime: what may run it here. batchable:
    whether its signature lets several items run at a time; the engines test it when they load. problem: why it cannot be used;
    warning: what to know.
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
    runtime: str = ""
    batchable: bool | None = None
    licence: str = ""
    problem: str = ""
    warning: str = ""


def check(folder: Path, *, hashes: bool = True) -> list[Row]:
    """Every ONNX file in `folder`, and every one that the family needs and that is not there. hashes: read them all, 0.75 GB."""
    runtime = runtimes_here() if hashes else ""
    rows = [_row(path, runtime, hashes=hashes) for path in _files(folder)]
    named = {row.name for row in rows}
    rows += [
        Row(name, present=False, role=role, family=FAMILY, problem=f"{name} ({ARTICLES[role]}) is missing from {folder}")
        for role, name in NAMES.items()
        if name not in named and not any(row.role == role and row.name not in NAMES.values() for row in rows)
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
    for role, name in NAMES.items():
        fitting = [row for row in rows if row.present and row.role == role and not row.problem]
        preferred = [row for row in fitting if row.name == name] or fitting
        if len(preferred) == 1:
            found[role] = folder / preferred[0].name
            if role == "recogniser" and preferred[0].warning:  # nothing else would show it but the wrong person's face
                logger.warning("%s", preferred[0].warning)
        elif preferred:
            names = " and ".join(row.name for row in preferred)
            problems.append(f"{names} could each be {ARTICLES[role]}: keep one, or name it {name}")
        elif not any(name in problem for problem in problems):
            problems += [row.problem for row in rows if row.role == role and row.problem] or [f"{name} is missing from {folder}"]
    if problems:
        raise RuntimeError("the InsightFace models cannot be used:\n" + "\n".join(f"- {problem}" for problem in dict.fromkeys(problems)))
    return found


def role_of(signature: Signature) -> Role | None:
    return next((role for role, test in TESTS.items() if test(signature)), None)


def table(rows: Sequence[Row]) -> str:
    """For people: a block for each file, one property a line."""
    return "\n\n".join("\n".join([row.name, *_lines(row)]) for row in rows)


def _lines(row: Row) -> list[str]:
    if not row.present:
        cells = {"present": "no", "role": row.role or "", "family": row.family, "problem": row.problem}
    else:
        known = {True: f"known ({row.sha256})", False: f"UNKNOWN ({row.sha256})", None: ""}[row.known]
        cells = {
            "present": "yes",
            "size": f"{row.size:,} bytes" + {True: ", as published", False: ", no published file has that", None: ""}[row.size_ok],
            "sha256": known,
            "signature": row.signature,
            "role": row.role or ("none that is known" if row.signature else ""),
            "family": row.family,
            "runtime": row.runtime,
            "batchable": {True: "yes, tested at start", False: "no", None: ""}[row.batchable],
            "licence": row.licence,
            "problem": row.problem,
            "warning": row.warning,
        }
    wrapped = ((label, textwrap.wrap(text, WIDTH, break_on_hyphens=False)) for label, text in cells.items())
    return [f"  {label if i == 0 else '':<10} {line}" for label, lines in wrapped for i, line in enumerate(lines)]


def _files(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.glob("*.onnx") if path.is_file()) if folder.is_dir() else ()


def _row(path: Path, runtime: str, *, hashes: bool) -> Row:
    size = path.stat().st_size
    try:
        signature = read_signature(path)
    except OnnxFileError as error:
        sizes = _sizes(path.name, None)
        expected = f"; {path.name} as published has {' or '.join(f'{n:,}' for n in sizes)} bytes" if sizes else ""
        return Row(path.name, present=True, size=size, size_ok=size in sizes if sizes else None, problem=f"{error}{expected}")
    role = role_of(signature)
    sizes = _sizes(path.name, role)
    size_ok = size in sizes if sizes else None
    digest = _sha256(path) if hashes else ""
    twin = MANIFEST.with_hash(digest)
    return Row(
        path.name,
        present=True,
        size=size,
        size_ok=size_ok,
        sha256=digest,
        known=twin is not None if hashes else None,
        role=role,
        family=FAMILY if role in NAMES else role or "",
        signature=str(signature),
        runtime=runtime if role else "",
        batchable=None if role is None else True,
        licence=MANIFEST.licence if twin or any(each.name == path.name for each in MANIFEST.files) else "",
        problem=_problem(path.name, role, signature, twin),
        warning=_warning(path.name, role, digest, size_ok, twin) if role is not None else "",
    )


def _sizes(name: str, role: Role | None) -> list[int]:
    """Of the published files of that name, or, where it is none of theirs, of that role."""
    alike = [each for each in MANIFEST.files if each.name == name] or [each for each in MANIFEST.files if each.role == role and each.fits]
    return [each.size for each in alike if each.size]


def _problem(name: str, role: Role | None, signature: Signature, twin: Published | None) -> str:
    wanted = next((each for each, usual in NAMES.items() if usual == name), None)
    if wanted is not None and role != wanted:
        what = ARTICLES[role] if role else f"something else, {signature}"
        return f"{name} should be {ARTICLES[wanted]}, and by its signature is {what}"
    if (twin is not None and not twin.fits) or any(each.name == name and not each.fits for each in MANIFEST.files):
        return f"{name} is a recogniser whose embeddings mean nothing to inswapper_128: use {NAMES['recogniser']}"
    return ""


def _warning(name: str, role: Role, digest: str, size_ok: bool | None, twin: Published | None) -> str:
    if twin is not None:
        return f"{name} is the file published as {twin.name}" if twin.name != name else ""
    stranger = "; another recogniser than w600k_r50 makes the swapper swap in a stranger" if role == "recogniser" else ""
    published = [f"{each.name} {each.sha256}" for each in MANIFEST.files if each.role == role and each.fits]
    if digest and published:
        return f"{name} has a sha256 that is not known; known: {', '.join(published)}{stranger}"
    if size_ok is False:
        return f"{name} is not as large as any published {role}{stranger}"
    return ""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
