"""A camera, or a video file, through OpenCV: python opencv_loop.py 0 [BUNDLE]; needs opencv-python."""

import sys
from collections.abc import Iterator
from typing import Any

import cv2

from sacvit_deploy import Prediction, SACViT

source, *bundle = sys.argv[1:]
camera = cv2.VideoCapture(int(source) if source.isdigit() else source)
if not camera.isOpened():
    sys.exit(f"OpenCV can't open {source}")


def frames() -> Iterator[Any]:
    while True:
        ok, frame = camera.read()
        if not ok:
            return
        yield frame  # H x W x 3 uint8, BGR


# Of a file keep every frame; of a camera the newest, so that answers are never late.
keep = "latest" if source.isdigit() else "all"
with SACViT(*bundle) as model, model.stream(frames(), channels="bgr", max_delay=0.1, keep=keep) as stream:
    for answer in stream:
        if isinstance(answer, Prediction):
            print(f"frame {answer.position}: {answer.label} {answer.probability:.1%}, stage {answer.stage}", flush=True)
        else:
            print(f"frame {answer.position}: {answer}", file=sys.stderr)
    print(f"{stream.taken} frames, {stream.dropped} dropped")
