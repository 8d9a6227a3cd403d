"""Answers of two models on real images, written down so that a later version can be held to them.

    python tests/data/record.py             write tests/data/answers.json anew, with this machine's answers

Run it only when an answer or a file of a bundle is meant to change, and say in the commit why it is.

`tests/data/tiny.safetensors` is a checkpoint of random weights (64 pixels, patches of 8, one block of width 16, ten
classes), scaled so that some images exit and some continue. `tests/data/before/` is its bundle in fp32, fp16 and int8:

    sacvit-export --ckpt tests/data/tiny.safetensors --fp16 --int8 --calib examples/pictures --threads 1

That bundle is never written anew: bundles that people have must stay readable. The other model is the example,
exported in fp32.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sacvit_deploy import Prediction, SACViT

DATA = Path(__file__).parent
ROOT = DATA.parents[1]
BEFORE, ANSWERS, TINY = DATA / "before", DATA / "answers.json", DATA / "tiny.safetensors"
EXAMPLE = ROOT / "examples/model.safetensors"
PRECISIONS = ("fp32", "fp16", "int8")
ANSWERING = ("numpy", "onnxruntime", "pillow")  # what the bits of an answer depend on
# And those of a bundle's files.
EXPORTING = ("numpy", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "pillow", "torch")
VECTORS = ("sse4", "avx", "amx", "fma", "f16c", "asimd", "sve", "i8mm", "bf16", "fphp")

# Two example images have changed places since; the record, and the order of calibration, keep the names they had.
RECORDED_NAMES = {"00_clock-6_small.png": "30_clock-6_small.png", "30_cow_small.png": "00_cow_small.png"}


def recorded_name(path: Path) -> str:
    """Return the name of an image when the answers were recorded."""
    return RECORDED_NAMES.get(path.name, path.name)


EXAMPLE_IMAGES = sorted((ROOT / "examples/pictures").iterdir(), key=recorded_name)
TINY_IMAGES = [*sorted((ROOT / "export/pictures").glob("*.jpg")), *EXAMPLE_IMAGES[:12]]


def machine() -> dict[str, Any]:
    """Return the CPU's make and vector instructions, as far as the system tells."""
    facts: dict[str, Any] = {"system": platform.system(), "machine": platform.machine()}
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return facts
    first = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    for key in ("vendor_id", "cpu family", "model", "CPU implementer", "CPU part"):
        if key in first:
            facts[key] = first[key]
    flags = first.get("flags", first.get("Features", "")).split()
    return {**facts, "vectors": sorted(flag for flag in flags if flag.startswith(VECTORS))}


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the installed versions by package."""
    return {package: metadata.version(package) for package in packages}


def answers(bundle: Path, precision: str, images: Iterable[Path]) -> dict[str, Any]:
    """Return one model's answers by file name; floats are exact, as JSON keeps every digit of them."""
    model = SACViT(bundle, backend="onnxruntime", precision=precision, threads=1)
    return {recorded_name(path): answer(model.predict(path)) for path in images}


def answer(prediction: Prediction) -> dict[str, Any]:
    """Return what is compared of a prediction."""
    return {
        "label": prediction.label,
        "stage": prediction.stage,
        "probability": prediction.probability,
        "stage_one_probability": float(prediction.stage_one_probability),
        "targets": None if prediction.targets is None else prediction.targets.tolist(),
    }


def hashes(bundle: Path) -> dict[str, str]:
    """Return the SHA-256 of every file in a bundle."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(bundle.iterdir())}


def calibration_images(folder: Path) -> Path:
    """Copy the example images into a new folder under their recorded names, and return it."""
    folder.mkdir()
    for path in EXAMPLE_IMAGES:
        shutil.copy(path, folder / recorded_name(path))
    return folder


def export(checkpoint: Path, target: Path, *options: str) -> None:
    """Run `sacvit export` on one thread."""
    command = [sys.executable, "-m", "sacvit_deploy", "export", "--ckpt", str(checkpoint), "--out", str(target)]
    done = subprocess.run([*command, "--threads", "1", *options], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)


def main() -> None:
    """Write answers.json."""
    with TemporaryDirectory() as folder:
        example = Path(folder) / "example.sacvit"
        export(EXAMPLE, example)
        record = {
            "machine": machine(),
            "versions": versions(sorted({*ANSWERING, *EXPORTING})),
            "tiny": {precision: answers(BEFORE, precision, TINY_IMAGES) for precision in PRECISIONS},
            "example": {"fp32": answers(example, "fp32", EXAMPLE_IMAGES)},
            "files": {"tiny": hashes(BEFORE), "example": hashes(example)},
        }
    text = re.sub(r"\[[^][{}]*]", lambda found: " ".join(found[0].split()), json.dumps(record, indent=1))
    ANSWERS.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
