"""Compare what the two runtimes say of damaged bundles and bad arguments: argv is BUNDLE PICTURE SACVIT_INFER.

Both must refuse with the same exit code and the same sentence. Where a library's own words stand in it, in brackets,
only what surrounds them is compared.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sacvit_deploy import SACViT
from sacvit_deploy.errors import SacvitError, UsageError

Edit = Callable[[dict[str, Any]], object]


def sealed(data: dict[str, Any]) -> bytes:
    """A manifest with the right digest, as somebody who means harm would write it."""
    data["digest"] = "sha256:" + "0" * 64
    text = json.dumps(data, indent=1).encode()
    return text.replace(b"sha256:" + b"0" * 64, b"sha256:" + hashlib.sha256(text).hexdigest().encode(), 1)


def put(*keys: str, value: Any) -> Edit:
    """An edit that sets one field."""

    def edit(data: dict[str, Any]) -> None:
        for key in keys[:-1]:
            data = data[key]
        data[keys[-1]] = value

    return edit


def drop(*keys: str) -> Edit:
    """An edit that removes one field."""

    def edit(data: dict[str, Any]) -> None:
        for key in keys[:-1]:
            data = data[key]
        del data[keys[-1]]

    return edit


EDITS: dict[str, Edit] = {
    "newer schema": put("schema", value=99),
    "no schema": drop("schema"),
    "schema is a text": put("schema", value="1"),
    "unknown section field": put("method", "colour", value=1),
    "unknown downsample": put("method", "downsample", value="nearest"),
    "downsample is a number": put("method", "downsample", value=3),
    "alpha": put("method", "alpha", value=1.0),
    "alpha selects nothing": put("method", "alpha", value=0.001),
    "beta": put("method", "score_beta", value=1.0),
    "first block": put("method", "score_first_block", value=6),
    "negative block": put("method", "score_first_block", value=-1),
    "no width": put("geometry", "width", value=0),
    "heads": put("geometry", "heads", value=5),
    "odd size": put("geometry", "image_size", value=225),
    "one token": put("geometry", "image_size", value=32),
    "size is a text": put("geometry", "image_size", value="224"),
    "size is a fraction": put("geometry", "image_size", value=224.5),
    "size is true": put("geometry", "depth", value=True),
    "mlp": put("geometry", "mlp_ratio", value=0.0),
    "crop": put("preprocessing", "crop", value=0.05),
    "std": put("preprocessing", "std", value=[0.1, 0, 0.1]),
    "interpolation": put("preprocessing", "interpolation", value="lanczos"),
    "eta": put("eta", value=1.5),
    "variant's eta": put("variants", "fp32", "eta", value=-1),
    "path outside": put("labels", "path", value="../labels.txt"),
    "absolute path": put("variants", "fp32", "files", "ee", "path", value="/etc/passwd"),
    "hidden path": put("variants", "fp32", "files", "ee", "path", value=".."),
    "hash": put("labels", "sha256", value="00"),
    "unknown variant": put("variants", "fp8", value={"files": {}}),
    "no sac": drop("variants", "fp32", "files", "sac"),
    "classes": put("geometry", "classes", value=61),
    "no variants": put("variants", value={}),
    "size of a file": put("variants", "fp32", "files", "ee", "bytes", value=1),
    "missing file": put("variants", "fp32", "files", "ee", "path", value="none.onnx"),
}
# Refused by both, but with Python's own words for a missing or mistyped field.
REFUSED_ONLY: dict[str, Edit] = {
    "no golden": drop("golden"), "no name": drop("name"), "no provenance": drop("provenance"), "no eta": drop("eta"),
    "eta is a text": put("eta", value="high"), "no labels": drop("labels"),
    "geometry is a list": put("geometry", value=[]),
    "two means": put("preprocessing", "mean", value=[0.5, 0.5]), "more in a file": put("labels", "more", value=1),
    "files is a list": put("variants", "fp32", "files", value=[]), "variants is a list": put("variants", value=[]),
}  # fmt: skip


def damaged_files(bundle: Path) -> Iterator[tuple[str, Callable[[Path], object]]]:
    """Ways to damage a copy of the bundle."""

    def flip(path: Path) -> None:
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 1
        path.write_bytes(raw)

    def empty(path: Path) -> None:
        path.write_bytes(b"")

    def folder(path: Path) -> None:
        path.unlink()
        path.mkdir()

    for name in ("manifest.json", "labels.txt", "ee.fp32.onnx", "sac.fp32.onnx", "weights.fp32.bin", "deit.fp32.onnx"):
        for damage in (flip, Path.unlink, empty, folder):
            yield f"{name} {damage.__name__}", lambda bundle, name=name, damage=damage: damage(bundle / name)  # type: ignore[misc]
    yield "no bundle", shutil.rmtree
    yield "a file", lambda bundle: [shutil.rmtree(bundle), bundle.write_text("x")]  # type: ignore[func-returns-value]
    for text in ("[]", "[" * 100000, '{"schema": 1}', '{"schema": 1, "digest": "sha256:' + "0" * 64 + '"}'):
        yield text[:40], lambda bundle, text=text: (bundle / "manifest.json").write_text(text)  # type: ignore[misc]


def cases(bundle: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """Name, bundle and further arguments of everything that both must refuse."""
    with tempfile.TemporaryDirectory() as work:
        copy = Path(work) / "copy.sacvit"
        manifest = (bundle / "manifest.json").read_text()
        for name, edit in {**EDITS, **REFUSED_ONLY}.items():
            shutil.copytree(bundle, copy, copy_function=os.link)
            data = json.loads(manifest)
            edit(data)
            (copy / "manifest.json").unlink()
            (copy / "manifest.json").write_bytes(sealed(data))
            yield name, copy, []
            shutil.rmtree(copy)
        for name, damage in damaged_files(bundle):
            shutil.copytree(bundle, copy)
            damage(copy)
            yield name, copy, []
            shutil.rmtree(copy) if copy.is_dir() else copy.unlink(missing_ok=True)
    for arguments in (["--eta", "1.5"], ["--eta", "nan"], ["--eta", "-0.001"], ["--alpha", "0"], ["--alpha", "0.01"],
                      ["--alpha", "1"], ["--precision", "fp8"], ["--provider", "nonsense"]):  # fmt: skip
        yield " ".join(arguments), bundle, arguments


def by_python(bundle: Path, picture: str, arguments: list[str]) -> tuple[int, str]:
    """Exit code and sentence of the Python command."""
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    gate = {name: float(options[f"--{name}"]) for name in ("eta", "alpha") if f"--{name}" in options}
    try:
        model = SACViT(bundle, precision=options.get("--precision", "fp32"), provider=options.get("--provider"))
        model.predict(picture, **gate)
    except SacvitError as error:
        return (2 if isinstance(error, UsageError) else 1), str(error)
    return 0, ""


def main() -> int:
    """Run all cases."""
    bundle, picture, *infer = sys.argv[1:]  # an emulator may stand before the command
    failed = count = 0
    for name, folder, arguments in cases(Path(bundle)):
        count += 1
        command = [*infer, picture, "--bundle", str(folder), "--precision", "fp32", "--json", *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        theirs = (done.returncode, done.stderr.removeprefix("Error: ").rstrip("\n"))
        ours = by_python(folder, picture, arguments)
        # What brackets and quotes hold may be a library's, or Python's notation of a value.
        plain = [re.sub(r" \(.*\)|can't be .*|not \[.*\]", "", said) for _, said in (theirs, ours)]
        same = theirs[0] == ours[0] != 0 and (plain[0] == plain[1] or name in REFUSED_ONLY)
        if not same or done.stdout or "\n" in theirs[1]:
            failed += 1
            print(f"{name}:\n  C++    {theirs}\n  Python {ours}\n  {done.stdout}")
    print(f"{count} refusals, {failed} differ")
    return int(failed > 0 or count < 60)


if __name__ == "__main__":
    sys.exit(main())
