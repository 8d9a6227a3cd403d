"""Write the Python runtime's answers for images, step by step, to GOLDEN.json for the C++ tests.

For every bundle and image: the engines' inputs (as hashes), the logits and scores of stage 1, and, at three alphas, the
targets, the logits of stage 2 and the prediction. ONNX Runtime is the same library in both languages.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sacvit_deploy import Prediction, SACViT
from sacvit_deploy.backends.onnxruntime.session import load_library
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.glue import build_request

ALPHAS = (0.3, 0.5, 0.9)
ETAS = (0.6, 1.0)


def sha256(array: npt.NDArray[Any]) -> str:
    """Hash an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def describe(model: SACViT, path: Path) -> dict[str, Any]:
    """Pass one image through the cascade step by step, and through `predict`."""
    item = model.prepare(path)
    if item.error is not None:
        return {"path": str(path), "error": str(item.error)}
    assert item.pixels is not None
    images = item.pixels[None]
    low = model.cascade.low_view(images)
    out = model.cascade.stage_one(low)
    cases = []
    for alpha in ALPHAS:
        count = model.config.num_targets(alpha)
        targets = model.cascade.targets(out["scores"], count)
        request = build_request(images, out, np.array([0]), targets, model.config)
        inputs = request.inputs(model.config)
        cases.append({
            "alpha": alpha,
            "targets": targets[0].tolist(),
            "positions": inputs["positions"][0].tolist(),
            "patches": sha256(inputs["patches"].astype(np.float32)),
            "logits": model.cascade.stage_two(inputs)[0].tolist(),
            "answers": [answer(model, path, eta, alpha) for eta in ETAS],
        })  # fmt: skip
    return {"path": str(path), "pixels": sha256(images), "low": sha256(low), "logits": out["logits"][0].tolist(),
            "scores": out["scores"][0].tolist(), "cases": cases}  # fmt: skip


def answer(model: SACViT, path: Path, eta: float, alpha: float) -> dict[str, Any]:
    """Return the answer of `predict` without the times."""
    prediction = model.predict(path, eta=eta, alpha=alpha)
    mask = prediction.target_mask
    fields = {key: value for key, value in prediction.to_dict(3).items() if key != "timing_ms"}
    return {"eta": eta, **fields, "mask": None if mask is None else mask.astype(int).ravel().tolist()}


def describe_bundle(bundle: Path, precision: str, images: list[Path], few: list[Path]) -> dict[str, Any]:
    """Describe every image with one bundle, and stream some of them in small batches."""
    streams = {}
    for weights in ("mapped", "packed"):  # reduced variants compute a little differently without packing
        model = SACViT(bundle, precision=precision, threads=1, weights=weights)
        results = model.stream(few, batch_size=3, eta=0.6)
        streams[weights] = [
            result.to_dict(1) if isinstance(result, Prediction) else {"source": str(path), "error": str(result)}
            for path, result in zip(few, results, strict=True)
        ]
    return {
        "bundle": str(bundle), "precision": precision, "eta": model.eta, "labels": list(model.labels),
        "images": [describe(model, path) for path in images], "streams": streams,
    }  # fmt: skip


def main() -> int:
    """Write the golden file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--others", type=Path, required=True, help="folder of more bundles")
    parser.add_argument("--limit", type=int, help="images at most; for emulators")
    parser.add_argument("--precisions", default="fp32,fp16,int8")
    arguments = parser.parse_args()
    images = sorted(path for path in arguments.pictures.iterdir() if path.suffix in (".jpg", ".png"))
    broken = arguments.others / "broken.jpg"
    broken.write_bytes(images[1].read_bytes()[:999])
    few = [*images[:7], broken, arguments.others / "none.jpg", *images[7:13]]
    if arguments.limit:
        few, images = few[7 - arguments.limit : 9], images[: arguments.limit]
    variants = [name for name in open_bundle(arguments.bundle).manifest.variants if name in arguments.precisions]
    bundles = [describe_bundle(arguments.bundle, precision, images if precision == "fp32" else images[:8], few)
               for precision in variants]  # fmt: skip
    for bundle in sorted(arguments.others.glob("*.sacvit")):
        bundles.append(describe_bundle(bundle, "fp32", images, few))
    arguments.out.write_text(json.dumps({"onnxruntime": load_library().__version__, "bundles": bundles}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
