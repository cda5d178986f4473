"""Makes a RayService of KubeRay around a Serve config file."""

from __future__ import annotations

from importlib.metadata import version
from importlib.resources import files
from string import Template
from textwrap import indent


def rayservice(config: str, image: str) -> str:
    """config: the file's text, which stays as it is, comments included."""
    template = Template(files(__package__).joinpath("rayservice.yaml").read_text())
    return template.substitute(serve_config=indent(config, "    ").rstrip(), image=image, ray=version("ray"))
