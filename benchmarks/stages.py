"""What our code costs beside the insightface library's own, stage by stage: one 1920 x 1080 picture with a face of 300 px.

Both sides run on the same stand-ins, the same OpenCV and ONNX Runtime options and one thread each, and take turns, so that a busy
moment hits all alike. A ratio is the library's median over ours: above 1 the service is faster. With `exact` both sides' models
cost the same, so that the ratio shows the code around them; `fast` shows what another runtime does to the models.
"""

from __future__ import annotations

import contextlib
import io
import math
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import onnxruntime

from benchmarks import swaps
from benchmarks.meshes import swap_times
from benchmarks.result import Chart, Result
from benchmarks.timing import timed
from serve_app.vision import image
from serve_app.vision.face import Floats, Pixels
from tests.parity import ours as service
from tests.parity.ours import CROP, Ours
from tests.pictures import SIX_PEOPLE, jpeg, png, read
from tests.standins import Kind, Standins, build
from tests.standins.library import Library, its_warnings
from tests.standins.painting import Spot, plant, reach

WIDTH, HEIGHT, DETECTOR, ARCFACE = 1920, 1080, 640, 112
FACE = 300.0  # pixels across its box
SPOT = Spot((17, 11), 16, 3.125, 0.2)
MESHES = (110, 335)  # pixels
PASTE_RATIO, MESH_MS = 5.0, 150.0
ROUND_S = 3.0  # about what one round of all stages takes

Contenders: TypeAlias = Mapping[str, Callable[[], float]]  # by side, each of which says how many seconds it took


class Remembered:
    """A session that gives the answer it gave once, at no cost: what is left of a library's call is its own code."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def run(self, names: Sequence[str], inputs: Mapping[str, Any]) -> Any:
        return self._answer


def run(seconds: float, kind: Kind = "narrow") -> Result:
    """With models of 1/8 of the channels, the swapper excepted: its batches are measured at the real size."""
    figures = measured(max(3, int(seconds / ROUND_S)), kind, "true_cost")
    rows = figures["stages"].items()
    ratios = {side: [(name, row[f"{side}_ratio"]) for name, row in rows if f"{side}_ratio" in row] for side in ("exact", "fast")}
    chart = Chart("times faster than the library", "stage", "ratio", ratios, "bars", limit=1.0)
    return Result(figures, table(figures), [chart], figures["missed"])


def run_true_cost(seconds: float) -> Result:
    return run(seconds, "true_cost")


def measured(rounds: int, kind: Kind = "narrow", swapper: Kind = "narrow") -> dict[str, Any]:
    """All figures in milliseconds and ratios; `missed` names what must hold and does not. swapper: of which batches are measured."""
    with tempfile.TemporaryDirectory(prefix="faceswap-stages-") as folder, one_thread():
        files = build(Path(folder), kind)
        with its_warnings():
            stages = {name: compared(sides, rounds) for name, sides in contenders(files).items()}
        meshes = [swap_times(size, rounds) for size in MESHES]
        batches = swaps.run(Path(folder), swapper, rounds)
    result = {"standins": kind, "rounds": rounds, "stages": stages, "batches": batches, "builtin": meshes}
    return {**result, "missed": missed(result)}


def missed(result: Mapping[str, Any]) -> list[str]:
    """What must hold and does not."""
    found = []
    if not (ratio := result["stages"]["paste"]["exact_ratio"]) >= PASTE_RATIO:
        found.append(f"paste is {ratio:.1f} times as fast, not {PASTE_RATIO}")
    last = result["builtin"][-1]
    if not last["slowest_best_ms"] < MESH_MS:
        found.append(f"a built-in swap at {last['mesh_px']} px takes {last['slowest_best_ms']:.0f} ms, not less than {MESH_MS:.0f}")
    return found + list(result["batches"]["missed"])


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def scene() -> Pixels:
    """(1080, 1920, 3) BGR: a photograph with the one face that the stand-ins see."""
    photo = np.asarray(cv2.resize(read(SIX_PEOPLE), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), np.uint8)
    return plant(photo, [SPOT])


def load_library(files: Standins) -> Library:
    """insightface's classes with the options of `serve_app.engines.session.OnnxRuntimeSession`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="insightface")
        from insightface.model_zoo import get_model

        paths = (files.detector, files.recogniser, files.swapper)
        return Library(*(get_model(str(path), providers=["CPUExecutionProvider"], sess_options=options) for path in paths))


def contenders(files: Standins) -> dict[str, Contenders]:
    """Every stage with its sides."""
    picture, library = scene(), load_library(files)
    exact, fast = service.load(files), service.load(files, precision="fast")
    boxes, points = library.detector.detect(picture, input_size=(DETECTOR, DETECTOR))
    if len(points) != 1 or abs(float(np.ptp(boxes[0, :4:2])) - FACE) > 0.1 * FACE or abs(2 * reach(SPOT, picture.shape) - FACE) > 1:
        raise RuntimeError(f"one face of {FACE:.0f} px should have been found, not {boxes}")
    return {**codecs(picture), **models(picture, points[0], library, {"exact": exact, "fast": fast})}


def codecs(picture: Pixels) -> dict[str, Contenders]:
    """Against OpenCV as everybody calls it: JPEG in 4:2:0, no orientation, profile or alpha, no metadata."""
    stages: dict[str, Contenders] = {}
    for name, data, ending in (("JPEG", jpeg(picture), ".jpg"), ("PNG", png(picture), ".png")):
        stages[f"decode {name}"] = {
            "library": timed(partial(opencv_decode, data)),
            "exact": timed(partial(image.decode, data)),
        }
        stages[f"encode {name}"] = {
            "library": timed(partial(opencv_encode, ending, picture)),
            "exact": timed(partial(image.encode, image.decode(data))),
        }
    return stages


def opencv_decode(data: bytes) -> object:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def opencv_encode(ending: str, picture: Pixels, options: Sequence[int] = ()) -> bytes:
    return bytes(cv2.imencode(ending, picture, options)[1].tobytes())


def models(picture: Pixels, points: Floats, library: Library, sides: Mapping[str, Ours]) -> dict[str, Contenders]:
    """detect with its letterbox, embed and swap with their crops, as both sides' callers pay for them."""
    from insightface.app.common import Face

    exact, size = sides["exact"], (DETECTOR, DETECTOR)
    embedding = exact.embed(exact.crop(picture, points, ARCFACE).pixels, points)
    source, target = Face(embedding=embedding), Face(kps=points)

    def detect(side: Ours) -> Callable[[], float]:
        return timed(lambda: side.detect((side.letterbox(picture, DETECTOR),)))

    def embed(side: Ours) -> Callable[[], float]:
        return timed(lambda: side.embed(side.crop(picture, points, ARCFACE).pixels, points))

    def swap(side: Ours) -> Callable[[], float]:
        return timed(lambda: side.swap([side.crop(picture, points, CROP)], embedding))

    square = exact.crop(picture, points, CROP)
    (patch,) = exact.swap([square], embedding)
    stages: dict[str, Contenders] = {
        "letterbox": {"library": its_letterbox(library, picture), "exact": timed(lambda: exact.letterbox(picture, DETECTOR))},
        "detect": {"library": timed(lambda: library.detector.detect(picture, input_size=size))},
        "embed": {"library": timed(lambda: library.recogniser.get(picture, target))},
        "swap": {"library": timed(lambda: library.swapper.get(picture, target, source, paste_back=False))},
        "paste": {
            "library": its_paste(library, picture, target, source),
            "exact": timed(lambda: exact.paste(picture, [(patch, square.matrix)])),
        },
    }
    for name, make in (("detect", detect), ("embed", embed), ("swap", swap)):
        stages[name] = {**stages[name], **{label: make(side) for label, side in sides.items()}}
    return stages


def its_letterbox(library: Library, picture: Pixels) -> Callable[[], float]:
    """The library has no function for it: its detector, with a net that finds nothing at once."""
    detector, forward = library.detector, library.detector.forward

    def seconds() -> float:
        detector.forward = lambda frame, threshold: ([], [], [])
        try:
            return timed(lambda: detector._detect_candidates(picture, (DETECTOR, DETECTOR), 0.5))()
        finally:
            detector.forward = forward

    return seconds


def its_paste(library: Library, picture: Pixels, target: Any, source: Any) -> Callable[[], float]:
    """The library has no function for it: swapping with it less swapping without it, by a net that costs nothing."""
    swapper, session = library.swapper, library.swapper.session
    inputs = {port.name: np.full([1, *port.shape[1:]], 0.5, np.float32) for port in session.get_inputs()}
    remembered = Remembered(session.run(None, inputs))

    def seconds() -> float:
        swapper.session = remembered
        try:
            whole, part = (timed(partial(swapper.get, picture, target, source, paste_back=back))() for back in (True, False))
        finally:
            swapper.session = session
        return whole - part

    return seconds


def compared(sides: Contenders, rounds: int) -> dict[str, float]:
    """Medians in milliseconds, and how many times faster than the library each side is."""
    taken: dict[str, list[float]] = {side: [] for side in sides}
    for measure in sides.values():
        measure()  # warm
    order = list(sides)
    for number in range(rounds):
        first = number % len(order)
        for side in order[first:] + order[:first]:
            taken[side].append(sides[side]())
    median = {side: statistics.median(seconds) * 1e3 for side, seconds in taken.items()}
    ratios = {f"{side}_ratio": median["library"] / ms if ms > 0 else math.inf for side, ms in median.items() if side != "library"}
    return {**{f"{side}_ms": ms for side, ms in median.items()}, **ratios}


def table(result: dict[str, Any]) -> str:
    """Markdown of what `measured` gave."""
    lines = [
        f"One {WIDTH} x {HEIGHT} picture, a face of {FACE:.0f} px, stand-ins {result['standins']}, one thread, medians of"
        f" {result['rounds']} rounds in turns. Ratio: how many times faster than the library.",
        "",
        "| stage | library ms | exact ms | ratio | fast ms | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in result["stages"].items():
        fast = f"{row['fast_ms']:.2f} | {row['fast_ratio']:.2f}" if "fast_ms" in row else " | "
        lines.append(f"| {name} | {row['library_ms']:.2f} | {row['exact_ms']:.2f} | {row['exact_ratio']:.2f} | {fast} |")
    lines += ["", *swaps.lines(result["batches"])]
    lines += ["", "| built-in swap, mesh px | median ms | best ms | slowest person's best ms |", "|---|---|---|---|"]
    lines += [f"| {m['mesh_px']} | {m['median_ms']:.1f} | {m['best_ms']:.1f} | {m['slowest_best_ms']:.1f} |" for m in result["builtin"]]
    return "\n".join(lines)
