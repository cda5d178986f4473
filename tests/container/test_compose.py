"""compose.yaml without an engine: it agrees with the service, and opens nothing but the service to others."""

from __future__ import annotations

import re
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from serve_app.cli import app
from serve_app.configs.ports import NEVER_PUBLIC
from serve_app.configs.variables import KNOWN, PREFIX
from tests.container.dockerfile import ROOT, steps

FILES = ("compose.yaml", "compose.gpu.yaml")


def read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / name).read_text()))


SERVICES: dict[str, dict[str, Any]] = read("compose.yaml")["services"]


def test_only_the_service_can_be_reached_from_other_machines() -> None:
    public = set()
    for service in SERVICES.values():
        for port in service.get("ports", []):
            *address, outside, _ = port.split(":")
            if address != ["127.0.0.1"]:
                public.add(int(outside))
    assert public == {8000}
    assert not public & NEVER_PUBLIC.keys()
    assert read("compose.yaml")["networks"]["back"]["internal"]
    for name in ("postgres", "s3"):
        assert SERVICES[name]["networks"] == ["back"], f"{name} is for the service only"
    assert all(service.get("network_mode") != "host" for service in SERVICES.values())


def test_no_secret_stands_in_it() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search("SECRET|PASSWORD|DATABASE_URL", name):
                assert "${" in value, name


def test_the_service_reads_every_variable_that_is_meant_for_it() -> None:
    ours = {name for name in SERVICES["faceswap"]["environment"] if name.startswith(PREFIX)}
    assert ours <= KNOWN
    assert ours == KNOWN, "or what stands in .env is not heard"


@pytest.mark.parametrize("file", FILES)
def test_the_service_is_started_with_options_that_it_has(file: str) -> None:
    program, name, *rest = read(file)["services"]["faceswap"]["command"]
    assert program == "faceswap"
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    with command.make_context(name, list(rest)) as context:
        assert context.params["host"] in (None, "0.0.0.0")


@pytest.mark.parametrize("file", FILES)
def test_the_image_is_built_with_arguments_that_it_has(file: str) -> None:
    arguments = read(file)["services"]["faceswap"]["build"]["args"]
    known = {step.text.partition("=")[0] for step in steps() if step.name == "ARG"}
    assert arguments.keys() <= known
    assert (ROOT / "requirements" / f"{arguments['LOCK']}.txt").exists()


def test_the_service_is_locked_up() -> None:
    service = SERVICES["faceswap"]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    volumes = [volume.split(":") for volume in service["volumes"]]
    written = {path.partition(":")[0] for path in service["tmpfs"]} | {there for _, there, *how in volumes if how != ["ro"]}
    assert written == {"/tmp", "/data"}


def test_what_is_mounted_is_there() -> None:
    named, configs = read("compose.yaml")["volumes"], read("compose.yaml")["configs"]
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (ROOT / source).exists() if source.startswith("./") else source in named, volume
        for one in service.get("configs", []):
            assert yaml.safe_load(configs[one["source"]]["content"])
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] != "service_healthy" or "healthcheck" in SERVICES[other]


def test_images_of_others_have_a_version() -> None:
    for name, service in SERVICES.items():
        if "build" not in service:
            assert re.search(r":v?\d+(\.\d+)*$", service["image"]), f"{name}: {service['image']}"


def test_the_s3_server_knows_its_options() -> None:
    """The image's program is the one that our tests start."""
    weed = Path(sysconfig.get_path("scripts")) / "weed"
    command, *options = SERVICES["s3"]["command"]
    done = subprocess.run([weed, "help", command], capture_output=True, text=True, timeout=60)
    known = set(re.findall(r"^\s+-([\w.]+)", done.stdout + done.stderr, re.M))
    assert {option.lstrip("-").partition("=")[0] for option in options} <= known
