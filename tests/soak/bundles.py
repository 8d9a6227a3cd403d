"""The soak's bundles: one as it is, and one of other weights and labels whose answers can't be mistaken for its."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from sacvit_deploy.bundle.bundle import MANIFEST, describe_file
from sacvit_deploy.bundle.manifest import read_manifest

NOISE = 0.05  # of a float weight: enough for other probabilities, not for other files


def write_other(bundle: Path, target: Path) -> None:
    """Write a whole bundle with noise on every float weight of more than one dimension, and another name per label."""
    shutil.copytree(bundle, target)
    manifest = read_manifest(target / MANIFEST)
    labels = target / manifest.labels.path
    names = labels.read_text(encoding="utf-8").splitlines()
    labels.write_text("".join(f"other {name}\n" for name in names), encoding="utf-8")
    variants = {}
    for precision, variant in manifest.variants.items():
        _disturb(target, [variant.files[role].path for role in ("ee", "sac")], variant.files["weights"].path)
        files = {role: describe_file(target / entry.path) for role, entry in variant.files.items()}
        variants[precision] = dataclasses.replace(variant, files=files)
    changed = dataclasses.replace(manifest, labels=describe_file(labels), variants=variants)
    (target / MANIFEST).write_bytes(changed.to_bytes())


def point_at(link: Path, target: Path) -> None:
    """Make a symlink name another folder, in one step."""
    fresh = link.with_name(link.name + ".new")
    os.symlink(target, fresh)
    os.replace(fresh, link)


def _disturb(folder: Path, engines: list[str], weights: str) -> None:
    """Multiply the float weights of two engines with noise, where they lie in the weights file."""
    rng, places = np.random.default_rng(0), {}
    for engine in engines:
        for tensor in onnx.load(folder / engine, load_external_data=False).graph.initializer:
            where = {entry.key: entry.value for entry in tensor.external_data}
            if where and tensor.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16) and math.prod(tensor.dims) > 1:
                kind = np.float32 if tensor.data_type == TensorProto.FLOAT else np.float16
                places[int(where["offset"])] = (kind, int(where["length"]))
    data = np.fromfile(folder / weights, np.uint8)
    for offset, (kind, length) in sorted(places.items()):
        values = data[offset : offset + length].view(kind)
        values *= (1 + NOISE * rng.standard_normal(values.shape)).astype(kind)
    data.tofile(folder / weights)
