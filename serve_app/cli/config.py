"""`faceswap config`: the files that start the service, looked at and made, without a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from serve_app.cli.options import SHIPPED, fail
from serve_app.deployments import environment

app = typer.Typer(no_args_is_help=True, help="The files that start the service on a machine or a cluster.")


@app.command("check")
def check(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Serve configs, files of Ray's launcher and of KubeRay; without: cluster.yaml and those in config/ of this folder"
        ),
    ] = None,
) -> None:
    """Say what is wrong in the files, also what Ray would leave out without a word; needs no cluster.

    Exit status 1: something must change. Warnings alone: 0.
    """
    environment.prepare()
    from serve_app.configs.check import check as faults_of  # Ray reads the environment when it is imported
    from serve_app.configs.check import shipped

    chosen = files or shipped(Path())
    if not chosen:
        fail("config check", "there is no cluster.yaml and no config/*.yaml in this folder; name the files")
    wrong = False
    for file in chosen:
        faults = list(faults_of(file))
        for fault in faults:
            typer.echo(fault, err=True)
        wrong |= any(not fault.harmless for fault in faults)
        if not faults:
            typer.echo(f"{file}: fine")
    raise typer.Exit(int(wrong))


@app.command("kuberay")
def kuberay(
    config: Annotated[Path, typer.Option(help="Serve config file that it runs", exists=True, dir_okay=False)] = SHIPPED / "gpu.yaml",
    image: Annotated[str, typer.Option(help="Image of all its pods")] = "faceswap-serve:gpu",
) -> None:
    """Print a RayService of KubeRay that runs a Serve config file, with a NetworkPolicy around it."""
    from serve_app.configs.rayservice import rayservice

    typer.echo(rayservice(config.read_text(), image), nl=False)
