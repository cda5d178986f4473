"""The `faceswap` command: one module for each of its groups."""

from serve_app.cli.command import app as app
from serve_app.cli.command import main as main
