"""The files of a bundle, and helpers that open, damage and forge bundles."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sacvit_deploy import SACViT
from sacvit_deploy.bundle.bundle import MANIFEST, check_file, open_bundle

FILES = (
    "labels.txt",
    "golden.npz",
    "ee.fp32.onnx",
    "sac.fp32.onnx",
    "deit.fp32.onnx",
    "weights.fp32.bin",
    "view.fp32.onnx",
    "gather.fp32.onnx",
    "ee.fp16.onnx",
    "sac.fp16.onnx",
    "deit.fp16.onnx",
    "weights.fp16.bin",
    "view.fp16.onnx",
    "gather.fp16.onnx",
    "ee-gpu.fp16.onnx",
    "sac-gpu.fp16.onnx",
    "deit-gpu.fp16.onnx",
)


def open_all(bundle: Path) -> None:
    """Open every variant and check every file, as `sacvit verify` does before it runs anything."""
    opened = open_bundle(bundle)
    for entry in opened.entries():
        check_file(opened.path, entry)
    for precision in opened.manifest.variants:
        SACViT(bundle, precision=precision, threads=1)


def flip(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


def forge(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest's JSON at will, with a digest that fits."""
    data = json.loads((bundle / MANIFEST).read_bytes())
    change(data)
    data["digest"] = "sha256:" + "0" * 64
    raw = (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode()
    digest = hashlib.sha256(raw).hexdigest().encode()
    (bundle / MANIFEST).write_bytes(raw.replace(b"0" * 64, digest, 1))
