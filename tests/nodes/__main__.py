"""`python -m tests.nodes`, or `make nodes SECONDS=N`: several nodes whose workers die; exits with 1 when a promise was broken."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from typing import Annotated

import typer

from tests.nodes.network import inside


def main(
    seconds: Annotated[float, typer.Option(help="How long faults are made, one a minute, at least one; starting comes on top")] = 300.0,
    seed: Annotated[int | None, typer.Option(help="For the same faults in the same order again")] = None,
) -> None:
    inside("tests.nodes", sys.argv[1:])
    from tests.nodes.run import Run
    from tests.nodes.world import World

    seed = random.randrange(10**6) if seed is None else seed
    began = time.monotonic()

    def say(text: str) -> None:
        typer.echo(f"{time.monotonic() - began:5.1f} s  {text}")

    world = World()
    try:
        world.start()
        say("started")
        run = Run(world, seconds, seed, say)
        asyncio.run(run.run())
    except BaseException:
        typer.echo(world.logs(), err=True)
        raise
    finally:
        world.close()
    say(f"over; seed {seed}")
    if run.broken:
        typer.echo("\nbroken promises:\n" + "\n".join(run.broken), err=True)
        raise typer.Exit(1)
    typer.echo("every promise was kept")


if __name__ == "__main__":
    typer.run(main)
