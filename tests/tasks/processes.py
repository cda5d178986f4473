"""Starts several processes on one database."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import serve_app

ROOT = Path(serve_app.__file__).parents[1]


class Processes:
    """Starts processes of `process.py` on one database and ends what is left of them."""

    def __init__(self, where: str | Path, folder: Path) -> None:
        self._where = where
        self._folder = folder
        self._all: list[subprocess.Popen[str]] = []

    def start(self, role: str, number: int) -> subprocess.Popen[str]:
        report = self._folder / f"report-{len(self._all)}.json"
        command = [
            sys.executable,
            "-W",
            "error",
            "-m",
            "tests.tasks.process",
            role,
            str(self._where),
            str(self._folder),
            str(report),
            str(number),
        ]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._all.append(process)
        return process

    async def report(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        """What it found, once it has ended, without a word of complaint."""
        _, errors = await asyncio.to_thread(process.communicate)
        assert (process.returncode, errors) == (0, "")
        report = self._folder / f"report-{self._all.index(process)}.json"
        found: dict[str, Any] = json.loads(report.read_text())
        return found

    def end(self) -> None:
        for process in self._all:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()


async def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return (await asyncio.to_thread(process.stdout.readline)).strip()
