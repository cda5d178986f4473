"""The library that the service must equal: insightface's own classes on stand-in files, one thread, quiet."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import onnxruntime

import serve_app  # noqa: F401  before insightface: keeps ONNX Runtime from writing an identity into the home directory
from tests.standins import Standins


@dataclass(frozen=True, slots=True)
class Library:
    """detector: SCRFD. recogniser: ArcFaceONNX. swapper: INSwapper."""

    detector: Any
    recogniser: Any
    swapper: Any


def load(files: Standins, threads: int = 1) -> Library:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # the real files declare shapes that they do not keep, at any size but 640
    with contextlib.redirect_stdout(io.StringIO()):
        from insightface.model_zoo import get_model

        paths = (files.detector, files.recogniser, files.swapper)
        return Library(*(get_model(str(path), providers=["CPUExecutionProvider"], sess_options=options) for path in paths))


@contextlib.contextmanager
def its_warnings() -> Iterator[None]:
    """The library calls a function that scikit-image has deprecated; nothing else may warn."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`estimate` is deprecated", FutureWarning)
        yield
