"""Reads our Dockerfile: instructions, their words and their variables, as far as it uses them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DOCKERFILE = ROOT / "Dockerfile"


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction. text: what follows its name, continuation lines joined."""

    name: str
    text: str

    def pairs(self) -> dict[str, str]:
        """Of ENV and ARG."""
        return dict(word.partition("=")[::2] for word in shlex.split(self.text))

    def command(self) -> list[str]:
        """Of CMD and HEALTHCHECK, written as a list."""
        return list(json.loads(self.text[self.text.index("[") :]))


def steps(path: Path = DOCKERFILE) -> list[Step]:
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [Step(*line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def environment() -> dict[str, str]:
    return {key: value for step in steps() if step.name == "ENV" for key, value in step.pairs().items()}


def copied() -> Iterator[tuple[list[str], str]]:
    """Sources, from the checkout, and where they go."""
    for step in steps():
        if step.name == "COPY":
            *sources, target = shlex.split(step.text)
            yield sources, target
