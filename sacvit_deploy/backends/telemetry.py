"""Switch off what the inference libraries report about their use; called before a library is imported."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ONNXRUNTIME = "ORT_DISABLE_TELEMETRY"  # of ONNX Runtime 1.29 and later, read when its library is loaded
OPENVINO = "openvino_telemetry"  # the package that reports; openvino runs without it


def silence_onnxruntime() -> None:
    """Keep ONNX Runtime from looking up its host and from writing an id and a database under the home folder.

    A value that the user has set stays: `ORT_DISABLE_TELEMETRY=0` lets it report.
    """
    os.environ.setdefault(ONNXRUNTIME, "1")


def silence_openvino() -> None:
    """Keep OpenVINO from reporting its import, for which it needs a home folder, too.

    It has no variable for that. Its reporting package is made unimportable for the life of the process, after which
    openvino takes its own stand-in, as where the package is not installed. Users who have opted in with OpenVINO's
    `opt_in_out` stay so; a package that the process has imported already is left alone.
    """
    if OPENVINO not in sys.modules and not opted_in():
        # None is Python's own mark for "not to be found". Not taken back: openvino imports parts of itself later on.
        sys.modules[OPENVINO] = None  # type: ignore[assignment]


def opted_in() -> bool:
    """Tell whether the user has opted in to OpenVINO's reports, by the file that `opt_in_out --opt_in` writes."""
    try:
        if sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA", ""), "Intel Corporation")
        else:
            base = Path.home() / "intel"
        return (base / OPENVINO).read_text().strip() == "1"
    except (OSError, RuntimeError, UnicodeDecodeError):  # RuntimeError: there is no home folder
        return False
