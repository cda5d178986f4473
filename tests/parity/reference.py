"""The library's side: what insightface's own classes compute, with what passes between their steps made visible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve_app.vision.face import Floats, Matrix, Pixels
from tests.standins import Standins
from tests.standins.library import its_warnings, load


class _Listening:
    """The swapper's session. It remembers what it was last given and answers the same question from memory."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._answers: dict[bytes, Any] = {}
        self.latent = np.empty(0, np.float32)

    def run(self, names: Sequence[str], inputs: dict[str, NDArray[Any]]) -> Any:
        key = b"".join(value.tobytes() for value in inputs.values())
        self.latent = list(inputs.values())[1][0]
        if key not in self._answers:
            self._answers[key] = self._session.run(names, inputs)
        return self._answers[key]

    def forget(self) -> None:
        self._answers.clear()


class Reference:
    """One library on one set of files."""

    def __init__(self, files: Standins) -> None:
        self._library = load(files)
        self._listening = self._library.swapper.session = _Listening(self._library.swapper.session)
        self._forward, self._frames = self._library.detector.forward, list[Pixels]()
        self._library.detector.forward = self._see

    def _see(self, frame: Pixels, threshold: float) -> Any:
        self._frames.append(frame)
        return self._forward(frame, threshold)

    def forget(self) -> None:
        self._listening.forget()

    def detect(self, picture: Pixels, sides: Sequence[int]) -> tuple[Floats, Floats, Floats, list[Pixels]]:
        """Boxes (n, 4), scores (n,), keypoints (n, 5, 2), and the frames that the net was shown."""
        self._frames.clear()
        boxes, keypoints = self._library.detector.detect(picture, input_size=[(side, side) for side in sides])
        return boxes[:, :4], boxes[:, 4], keypoints, list(self._frames)

    def crop(self, picture: Pixels, keypoints: Floats, size: int) -> tuple[Pixels, Matrix]:
        from insightface.utils import face_align

        with its_warnings():
            crop, matrix = face_align.norm_crop2(picture, keypoints, size)
        return crop, matrix

    def embed(self, crop: Pixels) -> Floats:
        """(512,), raw."""
        features: Floats = self._library.recogniser.get_feat(crop).flatten()
        return features

    def swap(self, picture: Pixels, keypoints: Floats, embedding: Floats) -> tuple[Floats, Pixels]:
        """The latent (512,) and the new crop (128, 128, 3) BGR."""
        crop, _ = self._get(picture, keypoints, embedding, paste_back=False)
        return np.array(self._listening.latent), crop

    def paste(self, picture: Pixels, keypoints: Floats, embedding: Floats) -> Pixels:
        """The whole picture with the new face. Raises ValueError when the face lies outside it."""
        pasted: Pixels = self._get(picture, keypoints, embedding, paste_back=True)
        return pasted

    def _get(self, picture: Pixels, keypoints: Floats, embedding: Floats, *, paste_back: bool) -> Any:
        from insightface.app.common import Face

        with its_warnings():
            return self._library.swapper.get(picture, Face(kps=keypoints), Face(embedding=embedding), paste_back=paste_back)
