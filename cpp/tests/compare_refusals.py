"""Compare how the two runtimes refuse damaged bundles and bad arguments: argv is BUNDLE IMAGE PROBE -- SACVIT_INFER.

Both must refuse with the same kind of error and name the same file, field or value; their sentences may differ.
`refusal_probe` tells the kinds that C++ has; `sacvit_infer` must give the exit code of the Python command.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sacvit_deploy import SACViT
from sacvit_deploy.errors import BackendError, BundleError, ImageError, OutputError, SacvitError, UsageError

Edit = Callable[[dict[str, Any]], object]

# Numbers of sacvit::ErrorCode.
KINDS: dict[type[SacvitError], int] = {ImageError: 1, BundleError: 2, BackendError: 3, OutputError: 4, UsageError: 5}


def sealed(data: dict[str, Any]) -> bytes:
    """Write a manifest with the right digest, as somebody who means harm would."""
    data["digest"] = "sha256:" + "0" * 64
    text = json.dumps(data, indent=1).encode()
    return text.replace(b"sha256:" + b"0" * 64, b"sha256:" + hashlib.sha256(text).hexdigest().encode(), 1)


def put(*keys: str, value: Any) -> Edit:
    """Make an edit that sets one field."""

    def edit(data: dict[str, Any]) -> None:
        for key in keys[:-1]:
            data = data[key]
        data[keys[-1]] = value

    return edit


def drop(*keys: str) -> Edit:
    """Make an edit that removes one field."""

    def edit(data: dict[str, Any]) -> None:
        for key in keys[:-1]:
            data = data[key]
        del data[keys[-1]]

    return edit


# The words that both messages must contain, and the edit.
EDITS: dict[str, tuple[str, Edit]] = {
    "newer schema": ("schema 99", put("schema", value=99)),
    "no schema": ("schema", drop("schema")),
    "schema is a text": ("schema", put("schema", value="1")),
    "unknown section field": ("method.colour", put("method", "colour", value=1)),
    "unknown downsample": ("downsample", put("method", "downsample", value="nearest")),
    "downsample is a number": ("downsample", put("method", "downsample", value=3)),
    "alpha": ("alpha", put("method", "alpha", value=1.0)),
    "alpha selects nothing": ("alpha", put("method", "alpha", value=0.001)),
    "unknown selection": ("selection", put("method", "selection", value="windows")),
    "selection is a number": ("selection", put("method", "selection", value=3)),
    "no region": ("region_size", put("method", "region_size", value=0)),
    "region is a fraction": ("region_size", put("method", "region_size", value=4.5)),
    "region beyond the grid": ("region_size 8", lambda data: data["method"].update(selection="window", region_size=8)),
    "alpha of a window": ("alpha", lambda data: data["method"].update(selection="window", alpha=1.1)),
    "no width": ("width", put("geometry", "width", value=0)),
    "odd size": ("225", put("geometry", "image_size", value=225)),
    "one token": ("geometry", put("geometry", "image_size", value=32)),
    "size is a text": ("image_size", put("geometry", "image_size", value="224")),
    "size is a fraction": ("image_size", put("geometry", "image_size", value=224.5)),
    "size is true": ("patch_size", put("geometry", "patch_size", value=True)),
    "geometry is a list": ("manifest.json", put("geometry", value=[])),
    "crop": ("crop", put("preprocessing", "crop", value=0.05)),
    "two means": ("mean", put("preprocessing", "mean", value=[0.5, 0.5])),
    "std": ("std", put("preprocessing", "std", value=[0.1, 0, 0.1])),
    "interpolation": ("interpolation", put("preprocessing", "interpolation", value="lanczos")),
    "resize": ("resize", put("preprocessing", "resize", value="longest_edge")),
    "resize rounding": ("resize_rounding", put("preprocessing", "resize_rounding", value="ceil")),
    "resize rounding is a number": ("resize_rounding", put("preprocessing", "resize_rounding", value=0)),
    "eta": ("1.5", put("eta", value=1.5)),
    "no eta": ("eta", drop("eta")),
    "eta is a text": ("manifest.json", put("eta", value="high")),
    "variant's eta": ("-1", put("variants", "fp32", "eta", value=-1)),
    "path outside": ("../labels.txt", put("labels", "path", value="../labels.txt")),
    "absolute path": ("/etc/passwd", put("variants", "fp32", "files", "ee", "path", value="/etc/passwd")),
    "hidden path": ("'..'", put("variants", "fp32", "files", "ee", "path", value="..")),
    "hash": ("labels.txt", put("labels", "sha256", value="00")),
    "no labels": ("labels", drop("labels")),
    "more in a file": ("manifest.json", put("labels", "more", value=1)),
    "unknown variant": ("fp8", put("variants", "fp8", value={"files": {}})),
    "no sac": ("sac", drop("variants", "fp32", "files", "sac")),
    "files is a list": ("manifest.json", put("variants", "fp32", "files", value=[])),
    "variants is a list": ("manifest.json", put("variants", value=[])),
    "no variants": ("fp32", put("variants", value={})),
    "classes": ("61", put("geometry", "classes", value=61)),
    "size of a file": ("ee.fp32.onnx", put("variants", "fp32", "files", "ee", "bytes", value=1)),
    "missing file": ("none.onnx", put("variants", "fp32", "files", "ee", "path", value="none.onnx")),
    "no golden": ("golden", drop("golden")),
    "no name": ("name", drop("name")),
    "no provenance": ("provenance", drop("provenance")),
}
# Refused by Python alone: fields that only the exporter and the reference model read.
EXPORT_ONLY: dict[str, Edit] = {
    "beta": put("method", "score_beta", value=1.0),
    "first block": put("method", "score_first_block", value=6),
    "fusion": put("method", "fusion", value="sum"),
    "depth is true": put("geometry", "depth", value=True),
    "heads": put("geometry", "heads", value=5),
    "mlp": put("geometry", "mlp_ratio", value=0.0),
}


def damages() -> Iterator[tuple[str, str, Callable[[Path], object]]]:
    """Give ways to damage a copy of the bundle: a name, what both messages must name, the damage."""

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
            damaged = lambda bundle, name=name, damage=damage: damage(bundle / name)  # noqa: E731
            yield f"{name} {damage.__name__}", name, damaged
    yield "no bundle", "copy.sacvit", shutil.rmtree
    yield "a file", "copy.sacvit", lambda bundle: [shutil.rmtree(bundle), bundle.write_text("x")]  # type: ignore[func-returns-value]
    for text in ("[]", "[" * 100000, '{"schema": 1}', '{"schema": 1, "digest": "sha256:' + "0" * 64 + '"}'):
        yield text[:40], "manifest.json", lambda bundle, text=text: (bundle / "manifest.json").write_text(text)  # type: ignore[misc]


FP32 = {"precision": "fp32"}
# An option, a value that must be refused, and what both messages must name.
ARGUMENTS: tuple[tuple[str, str, str], ...] = (
    ("--eta", "1.5", "1.5"), ("--eta", "nan", "nan"), ("--eta", "-0.001", "-0.001"), ("--alpha", "0", "alpha is 0"),
    ("--alpha", "0.01", "0.01"), ("--alpha", "1", "alpha is 1"), ("--precision", "fp8", "fp8"),
    ("--device", "nonsense", "nonsense"), ("--device", "cuda:x", "cuda:x"), ("--device", "cpu:1", "cpu:1"),
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A bundle and arguments that must be refused, and the words that both messages must contain."""

    name: str
    named: str
    bundle: Path
    arguments: dict[str, str]

    def by_python(self, image: str) -> tuple[int, str]:
        """Return kind and message of the Python runtime's error; (0, "") where it answers."""
        gate = {name: float(value) for name, value in self.arguments.items() if name in ("eta", "alpha")}
        try:
            model = SACViT(self.bundle, precision=self.arguments["precision"], device=self.arguments.get("device"))
            model.predict(image, **gate)
        except SacvitError as error:
            return KINDS[type(error)], str(error)
        return 0, ""

    def by_probe(self, probe: subprocess.Popen[str], image: str) -> tuple[int, str]:
        """Return kind and message of the C++ runtime's error; the kind is 0 where it answers."""
        assert probe.stdin is not None and probe.stdout is not None
        given = [self.arguments.get(name, "") for name in ("precision", "device", "eta", "alpha")]
        probe.stdin.write("\t".join([str(self.bundle), image, *given]) + "\n")
        probe.stdin.flush()
        kind, _, message = probe.stdout.readline().rstrip("\n").partition("\t")
        return int(kind), message

    def exit_code(self, infer: list[str], image: str) -> int:
        """Return the exit code of `sacvit_infer`; -1 unless it prints one line of error and no answer."""
        given = [word for name, value in self.arguments.items() for word in (f"--{name}", value)]
        done = subprocess.run(
            [*infer, image, "--bundle", self.bundle, "--json", *given], capture_output=True, text=True
        )
        return done.returncode if not done.stdout and done.stderr.count("\n") == 1 else -1


def cases(bundle: Path) -> Iterator[Case]:
    """Give every case that both must refuse, then those that only Python does; a case's bundle goes with the next."""
    with tempfile.TemporaryDirectory() as work:
        copy = Path(work) / "copy.sacvit"

        def edited(edit: Edit) -> Path:
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(bundle.resolve(), copy, copy_function=os.symlink)
            data = json.loads((bundle / "manifest.json").read_text())
            edit(data)
            (copy / "manifest.json").unlink()
            (copy / "manifest.json").write_bytes(sealed(data))
            return copy

        for name, (named, edit) in EDITS.items():
            yield Case(name, named, edited(edit), FP32)
        for name, edit in EXPORT_ONLY.items():
            yield Case(name, "", edited(edit), FP32)
        for name, named, damage in damages():
            shutil.rmtree(copy) if copy.is_dir() else copy.unlink(missing_ok=True)
            shutil.copytree(bundle, copy)
            damage(copy)
            yield Case(name, named, copy, FP32)
    for option, value, named in ARGUMENTS:
        yield Case(f"{option} {value}", named, bundle, FP32 | {option.removeprefix("--"): value})


def refuses_to_choose(infer: list[str], image: str) -> bool:
    """Return whether `sacvit_infer` names the two bundles beside an image instead of choosing one."""
    with tempfile.TemporaryDirectory() as work:
        for name in ("a.sacvit", "b.sacvit"):
            (Path(work) / name).mkdir()
        environment = {name: value for name, value in os.environ.items() if name != "SACVIT_BUNDLE"}
        command = [*infer, shutil.copy(image, work)]
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
    return done.returncode == 1 and "several bundles (a.sacvit, b.sacvit); choose" in done.stderr


def main() -> int:
    """Run all cases."""
    split = sys.argv.index("--")
    bundle, image, *probe_command = sys.argv[1:split]  # an emulator may stand before either command
    infer = sys.argv[split + 1 :]
    failed = count = 0
    with subprocess.Popen(probe_command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as probe:
        for case in cases(Path(bundle)):
            count += 1
            theirs, ours = case.by_probe(probe, image), case.by_python(image)
            if case.name in EXPORT_ONLY:
                good = theirs[0] == 0 and ours[0] == KINDS[BundleError]
            else:
                good = theirs[0] == ours[0] != 0 and all(case.named in message for _, message in (theirs, ours))
            if case.bundle == Path(bundle):
                good = good and case.exit_code(infer, image) == (2 if theirs[0] == KINDS[UsageError] else 1)
            if not good:
                failed += 1
                print(f"{case.name}:\n  C++    {theirs}\n  Python {ours}")
    if not refuses_to_choose(infer, image):
        failed += 1
        print("sacvit_infer chose among several bundles, or its message is another")
    print(f"{count} refusals, {failed} differ")
    return int(failed > 0 or count < 70)


if __name__ == "__main__":
    sys.exit(main())
