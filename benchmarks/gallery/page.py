"""The gallery as one HTML page that needs nothing else."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from benchmarks.gallery.crops import crop
from benchmarks.gallery.exhibition import Exhibition
from benchmarks.gallery.gates import GATES, Gate
from benchmarks.gallery.shots import Refused, Shot, Studio
from benchmarks.machine import machine_line
from serve_app.vision.face import Pixels
from tests.gallery import Person
from tests.pictures import jpeg

SIDE = 224  # pixels
TEMPLATE = Path(__file__).with_name("page.html")


def page(shown: Exhibition) -> str:
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(TEMPLATE.read_text())
    studio = shown.studio
    return template.render(
        machine=machine_line(),
        gates=[_gate(gate, shown.measured) for gate in GATES],
        swaps=[_swap(studio, swap) for swap in shown.swaps],
        steps=[
            {
                "name": one.step.name,
                "says": one.step.says,
                "pairs": [{"without": _swap(studio, without), "with": _swap(studio, with_)} for without, with_ in one.shots],
            }
            for one in shown.steps
        ],
    )


def _gate(gate: Gate, shots: list[Shot]) -> dict[str, Any]:
    values = [gate.value(shot) for shot in shots if gate.asked_of(shot)]
    worst = gate.shown((max if gate.most else min)(values)) if values else "not asked"
    missed = sum(not gate.holds(shot) for shot in shots)
    return {"name": gate.name, "says": gate.says, "asked": gate.asked, "worst": worst, "missed": missed}


def _swap(studio: Studio, swap: Shot | Refused) -> dict[str, Any]:
    target, source = studio.person(swap.target), studio.person(swap.source)
    ends = {"target": swap.target, "source": swap.source, "before": _url(target.picture, target), "giver": _url(source.picture, source)}
    if isinstance(swap, Refused):
        return {**ends, "result": None, "why": swap.why, "values": []}
    values = [{"name": gate.name, "shown": gate.of(swap), "missed": not gate.holds(swap)} for gate in GATES]
    return {**ends, "result": _url(swap.result, target), "why": "", "values": values}


def _url(picture: Pixels, who: Person) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg(crop(picture, who, SIDE), 92)).decode()}"
