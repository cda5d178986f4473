"""What the README tells a newcomer to type, typed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.pictures import ASTRONAUT, head, jpeg
from tests.service.client import Client

README = Path(__file__).resolve().parent.parent.parent / "README.md"


def commands() -> list[str]:
    return re.findall(r"```sh\n(.*?)```", README.read_text(), re.S)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs Debian's curl")
def test_the_readmes_curl_lines_swap_a_face(client: Client, tmp_path: Path) -> None:
    (tmp_path / "face.jpg").write_bytes(jpeg(head(3)))
    shutil.copy(ASTRONAUT, tmp_path / "photo.jpg")  # a PNG by content: the name does not count

    def run(command: str) -> dict[str, object]:
        there = command.replace("http://127.0.0.1:8000", client.base).replace("curl -s", f"curl -s -H 'mj-api-secret: {client.secret}'")
        done = subprocess.run(["bash", "-euc", there], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
        return dict(json.loads(done.stdout))

    submit, fetch = (command for command in commands() if "curl" in command)
    task = str(run(submit)["result"])
    client.finished(task)
    state = run(fetch.replace("1724000000000123", task))
    assert client.picture(state)[:4] == b"\x89PNG"


def test_the_readmes_make_commands_exist() -> None:
    targets = re.findall(r"^(\w+):", (README.parent / "Makefile").read_text(), re.M)
    named = re.findall(r"(?:`|^)make (\w+)", README.read_text(), re.M)
    assert {"serve", "test", "bench"} <= set(named)
    for target in named:
        assert target in targets
