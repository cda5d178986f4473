"""Says of a file what is wrong in it, without a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve_app.configs import kuberay, launcher, serve
from serve_app.configs.document import documents
from serve_app.configs.finding import Finding, shown


@dataclass(frozen=True, slots=True)
class Fault:
    """A finding, for people. where: "" for the whole file."""

    file: Path
    where: str
    text: str
    harmless: bool

    def __str__(self) -> str:
        kind = "warning: " if self.harmless else ""
        return ": ".join(part for part in (str(self.file), self.where, f"{kind}{self.text}") if part)


def shipped(folder: Path) -> list[Path]:
    """The files of a checkout that can be checked."""
    config = folder / "config"
    paths = [folder / "cluster.yaml", *sorted(config.glob("*.yaml")), *sorted(config.glob("kuberay/*.yaml"))]
    return [path for path in paths if path.exists()]


def check(file: Path) -> Iterator[Fault]:
    """Nothing for a file that is right."""
    try:
        found = list(_found(documents(file)))
    except ValueError as error:
        yield Fault(file, "", str(error), False)
        return
    for document, findings in found:
        for one in sorted(findings, key=lambda finding: finding.harmless):
            yield Fault(file, shown(document, one.place), one.text, one.harmless)


def _found(contents: list[Any]) -> Iterator[tuple[Any, Iterable[Finding]]]:
    kinds = [_kind(document) for document in contents]
    if not any(kinds):
        raise ValueError(
            "is neither a Serve config (applications), nor a file of Ray's launcher (cluster_name), nor a RayService of KubeRay"
        )
    for document, kind in zip(contents, kinds, strict=True):
        if kind == "serve":
            yield document, serve.check(document)
        elif kind == "launcher":
            yield document, launcher.check(document)
        elif kind == "RayService":
            document = kuberay.opened(document)
            policies = [other for other, its in zip(contents, kinds, strict=True) if its == "NetworkPolicy"]
            yield document, kuberay.check(document, policies)


def _kind(document: Any) -> str | None:
    """Documents of Kubernetes by their own word for it."""
    if not isinstance(document, dict):
        return None
    if "applications" in document:
        return "serve"
    if {"cluster_name", "provider"} & document.keys():
        return "launcher"
    return str(document["kind"]) if "kind" in document else None
