"""Single files and arguments that are damaged, and what then opens them."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from sacvit_deploy import SACViT
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.bundle.label_file import read_labels
from sacvit_deploy.export.checkpoint import load_checkpoint
from sacvit_deploy.images.decode import load_image
from sacvit_deploy.images.preprocess import fit
from sacvit_deploy.verification.golden import load_golden
from tests.data import record
from tests.mutations.cases import Case, Subject
from tests.mutations.mutate import damaged, forged, written
from tests.mutations.picture_seeds import image_files


def images() -> Subject:
    """Damage small images."""
    raws = [raw for _, raw in image_files()]
    recipe = open_bundle(record.BEFORE).manifest.config.preprocessing

    def make(random: Random) -> Case:
        raw = damaged(random.choice(raws), random)
        return Case(lambda: fit(load_image(raw), 64, recipe))

    return make


def golden(folder: Path) -> Subject:
    """Golden vectors: damaged archives, and whole archives of damaged arrays."""
    raw, path = (record.BEFORE / "golden.npz").read_bytes(), folder / "golden.npz"
    config = open_bundle(record.BEFORE).manifest.config
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}

    def make(random: Random) -> Case:
        if random.random() < 0.4:
            path.write_bytes(damaged(raw, random))
        else:
            name = random.choice(list(members))
            # The header is where the harm is.
            start, rest = members[name][:128], members[name][128:]
            changed = damaged(start, random) + rest if random.random() < 0.7 else damaged(members[name], random)
            with zipfile.ZipFile(path, "w", random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as new:
                for member, content in members.items():
                    new.writestr(member, changed if member == name else content)
        return Case(lambda: load_golden(path, config))

    return make


def checkpoints(folder: Path) -> Subject:
    """Checkpoints: safetensors with damaged bytes, header or config, and PyTorch's pickles."""
    raw, path = record.TINY.read_bytes(), folder / "model"
    length = struct.unpack("<Q", raw[:8])[0]
    header, body = json.loads(raw[8 : 8 + length]), raw[8 + length :]
    described = json.loads(header["__metadata__"]["sacvit"])
    buffer = io.BytesIO()
    beside = {
        "classes": ["a", "b"],
        "args": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "input_size": [3, 64, 64]},
    }
    torch.save({"model": load_file(record.TINY), **beside, "epoch": 3}, buffer)
    pickled = buffer.getvalue()
    with zipfile.ZipFile(io.BytesIO(pickled)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    stem = next(name for name in members if name.endswith("data.pkl"))

    def safetensors(random: Random) -> bytes:
        kind = random.randrange(3)
        if kind == 0:
            return damaged(raw, random)
        changed = copied(header)
        if kind == 1:
            changed["__metadata__"]["sacvit"] = written(forged(described, random)).decode("utf-8", "replace")
        else:
            changed = forged(changed, random)
        text = written(changed)
        return struct.pack("<Q", len(text)) + text + body

    def pickle(random: Random) -> bytes:
        if random.random() < 0.3:
            return damaged(pickled, random)
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, damaged(content, random) if name == stem else content)
        return out.getvalue()

    def make(random: Random) -> Case:
        if random.random() < 0.6:
            target, content = path.with_suffix(".safetensors"), safetensors(random)
        else:
            target, content = path.with_suffix(".pth"), pickle(random)
        target.write_bytes(content)
        return Case(lambda: load_checkpoint(target, heads=random.choice((None, 2))))

    return make


def copied(data: Any) -> Any:
    """Copy JSON data."""
    return json.loads(json.dumps(data))


def labels(folder: Path) -> Subject:
    """Files of class names, text and JSON, read by `--labels`."""
    names = [f"thing {number}" for number in range(10)]
    datas: list[Any] = [
        names,
        {str(n): name for n, name in enumerate(names)},
        {name: n for n, name in enumerate(names)},
    ]
    datas += [
        {"id2label": datas[1], "label2id": datas[2]},
        {"label_names": names, "label_descriptions": {"thing 1": "x"}},
    ]

    def make(random: Random) -> Case:
        path = folder / random.choice(("labels.txt", "labels.json"))
        data = random.choice(datas)
        text = "\n".join(names).encode() if random.random() < 0.3 else written(forged(data, random))
        path.write_bytes(damaged(text, random) if random.random() < 0.5 else text)
        return Case(lambda: read_labels(path, random.choice((None, 10))))

    return make


def requests() -> Subject:
    """Calls of the public class: what a service would pass on from strangers."""
    model = SACViT(record.BEFORE, precision="fp32", threads=1)
    raw = record.TINY_IMAGES[0].read_bytes()
    numbers = (None, 0.0, 1.0, 0.5, -0.0, 1.5, -1.0, 1e-320, 1e308, float("nan"), float("inf"), 0.001, 0.999, 10**400)

    def source(random: Random) -> Any:
        shape = random.choice(
            ((0, 0, 3), (1, 1, 3), (5, 7, 3), (9, 9), (9, 9, 1), (9, 9, 4), (9, 9, 2), (9,), (2, 2, 3, 3))
        )
        kinds: tuple[Callable[[], Any], ...] = (
            lambda: raw,
            lambda: damaged(raw, random),
            lambda: b"",
            lambda: random.choice(("", "a\0b", "\udcff.jpg", "/", "/dev/null", "none.jpg", "x" * 5000)),
            lambda: np.zeros(shape, random.choice(("uint8", "int8", "float32", "bool", "U1", "complex64"))),
            lambda: np.broadcast_to(np.uint8(7), (10**6, 10**6, 3)),
            lambda: random.choice((None, 7, [raw], {"path": "x"})),
            lambda: Image.new(random.choice(("RGB", "L", "F", "I", "1", "CMYK", "LAB")), (random.randrange(1, 9), 8)),
        )
        return random.choice(kinds)()

    def make(random: Random) -> Case:
        sources = [source(random) for _ in range(random.choice((1, 1, 2, 5)))]
        # Most calls have one odd argument at most, or the first would hide the others.
        eta, alpha, size, workers = (
            random.choice(odd) if random.random() < 0.15 else usual
            for odd, usual in ((numbers, 0.5), (numbers, None), ((0, -1, 10**9), 2), ((0, -1, 10**6), 1))
        )

        def call() -> list[Any]:
            stream = model.stream(sources, batch_size=size, eta=eta, alpha=alpha, workers=workers)
            return [answer.to_dict() if hasattr(answer, "to_dict") else answer for answer in stream]

        return Case(call)

    return make
