"""Links between our own pages lead somewhere; commands, ports and variables in the code are in the docs, and the other way round."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from serve_app.cli import app
from serve_app.configs.ports import NEVER_PUBLIC
from serve_app.deployments import environment

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md")), ROOT / "models" / "README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_of_ours_resolves(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", page.read_text())
    for link in links:
        if "://" not in link:
            assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_heading_of_ours_resolves(page: Path) -> None:
    for link, heading in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text()):
        there = (page.parent / link if link else page).read_text()
        headings = [re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-") for line in re.findall(r"^#+ (.*)", there, re.M)]
        assert heading in headings, f"{link}#{heading}"


def test_every_decision_is_in_the_list() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = (folder / "README.md").read_text()
    for page in folder.glob("0*.md"):
        assert f"({page.name})" in listed


def commands(group: Any = None, name: str = "") -> Iterator[tuple[str, Any]]:
    """All of `faceswap`, as ("key create", its command)."""
    group = group or typer.main.get_command(app)
    for part, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{name}{part} ")
        else:
            yield f"{name}{part}", command


def code() -> Iterator[str]:
    """What stands as code in the pages: blocks line by line, and spans."""
    for page in PAGES:
        blocks = re.findall(r"```[a-z]*\n(.*?)```", text := page.read_text(), re.S)
        for block in blocks:
            yield from block.replace("\\\n", " ").splitlines()
        yield from re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.S).replace("\n", " "))


def test_every_command_is_in_the_docs() -> None:
    text = "\n".join(code())
    for name, _ in commands():
        group, _, last = name.rpartition(" ")
        alone = rf"faceswap {group} (?:[a-z-]+\|)*{last}\b" if group else rf"faceswap {last}\b"
        assert re.search(alone, text), f"no page says `faceswap {name}`"


def test_every_command_in_the_docs_is_there_with_its_options() -> None:
    known = dict(commands())
    groups = {name.split()[0] for name in known if " " in name}
    for line in code():
        for said in re.findall(r"(?:^|[ (/])faceswap ((?!faceswap )[a-z][a-z-]*.*)", line):
            words = said.split("#")[0].split()
            if words[0] in groups:
                if len(words) == 1:
                    continue
                names = [f"{words[0]} {part}" for part in words[1].rstrip("`.,;").split("|")]
            else:
                names = [words[0].rstrip(".,;")]
            for name in names:
                assert name in known, f"there is no `faceswap {name}`: {line}"
                options = {option for parameter in known[name].params for option in parameter.opts} | {"--help"}
                for option in (word.rstrip(".,;)").partition("=")[0] for word in words if word.startswith("--")):
                    assert option in options, f"`faceswap {name}` has no {option}: {line}"


def test_every_port_that_must_not_be_public_is_explained() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \|.*\|.*\| (.+) \|$", (DOCS / "security.md").read_text(), re.M)
    explained = {int(port) for ports, why in rows if why.strip() for port in ports.split(",")}
    assert explained == NEVER_PUBLIC.keys()


def test_every_variable_that_nodes_need_is_explained() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", (DOCS / "operations.md").read_text(), re.M))
    for name, value in (environment.EVERY_NODE | environment.HAPROXY).items():
        assert rows[name] == (f"`{value}`" if value else "empty")
