"""What is wrong in a file, and where."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches

Place = tuple[str | int, ...]  # keys and indexes from the top of a document


@dataclass(frozen=True, slots=True)
class Finding:
    place: Place
    text: str
    harmless: bool = False  # a warning: it works, but hardly as meant


def meant(name: object, known: Collection[str]) -> str:
    """'; did you mean ...?', or nothing."""
    close = get_close_matches(str(name), known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def shown(document: object, place: Place) -> str:
    """As `applications[faceswap].deployments[Ingress].num_replicas`: entries of a list by their name where they have one.

    Ends with the first key that the document does not have: pydantic adds names of types.
    """
    text, here = "", document
    for step in place:
        if isinstance(here, list) and isinstance(step, int) and step < len(here):
            here = here[step]
            name = next((here[key] for key in ("name", "groupName") if key in here), step) if isinstance(here, dict) else step
            text += f"[{name}]"
        else:
            text += f".{step}" if text else str(step)
            if not isinstance(here, dict) or step not in here:
                break
            here = here[step]
    return text
