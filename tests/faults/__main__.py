"""`python -m tests.faults`, or `make faults SECONDS=N`: breaks the service under load; exits with 1 when a promise was broken."""

from __future__ import annotations

import contextlib
import random
from typing import Annotated

import typer

from serve_app.deployments import environment


def main(
    seconds: Annotated[float, typer.Option(help="How long faults are made; starting and finishing come on top")] = 300.0,
    seed: Annotated[int | None, typer.Option(help="For the same faults in the same order again")] = None,
) -> None:
    environment.prepare()
    from tests.faults.promises import broken
    from tests.faults.report import page
    from tests.faults.run import run
    from tests.faults.world import World

    seed = random.randrange(10**6) if seed is None else seed
    with contextlib.closing(World()) as world:
        world.start()
        evidence = run(world, seconds, seed, typer.echo)
    typer.echo("\n" + page(evidence, seconds, seed))
    if wrong := broken(evidence):
        typer.echo("\nbroken promises:\n" + "\n".join(f"{count} x {what}" for what, count in wrong.items()), err=True)
        raise typer.Exit(1)
    typer.echo("\nevery promise was kept")


if __name__ == "__main__":
    typer.run(main)
