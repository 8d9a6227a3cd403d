"""Forge manifests and compare the two runtimes: argv is COUNT, then the command of `refusal_probe`.

Python may take none that C++ refuses, else whoever checked a bundle with one would be wrong about the other. What C++
takes alone is counted: it has no use for some fields.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from random import Random

from sacvit_deploy import SACViT
from sacvit_deploy.bundle.bundle import MANIFEST
from sacvit_deploy.errors import SacvitError
from tests.data import record
from tests.mutations.mutate import damaged, forged, resealed, written
from tests.mutations.subjects import bundle_in

IMAGE = record.TINY_IMAGES[0]
NO_ARGUMENTS = 4  # precision, device, eta, alpha: fields that the probe takes after bundle and image


def library() -> dict[str, str]:
    """Return the variable that gives C++ the ONNX Runtime of Python."""
    found = find_spec("onnxruntime")
    assert found is not None and found.origin is not None
    return {"SACVIT_ORT_LIBRARY": str(Path(found.origin).parent / "capi")}


def by_python(bundle: Path) -> str:
    """Return Python's refusal, empty where it answers."""
    try:
        SACViT(bundle, precision="fp32", threads=1, weights="mapped").predict(IMAGE)
    except SacvitError as error:
        return str(error)
    return ""


def by_cpp(probe: subprocess.Popen[bytes], bundle: Path) -> str:
    """Return C++'s refusal, empty where it answers."""
    assert probe.stdin is not None and probe.stdout is not None
    probe.stdin.write("\t".join([str(bundle), str(IMAGE), "fp32", *[""] * (NO_ARGUMENTS - 1)]).encode() + b"\n")
    probe.stdin.flush()
    kind, _, message = probe.stdout.readline().decode("utf-8", "replace").rstrip("\n").partition("\t")
    return message if int(kind) else ""


def compare(count: int, command: list[str], seed: int = 0) -> dict[str, list[int]]:
    """Forge `count` manifests; return the numbers of the cases by who took them: both, neither, python, cpp."""
    outcomes: dict[str, list[int]] = {"both": [], "neither": [], "python": [], "cpp": []}
    with tempfile.TemporaryDirectory() as folder:
        bundle = bundle_in(Path(folder))
        raw = (bundle / MANIFEST).read_bytes()
        with subprocess.Popen(
            command, env=library() | os.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as probe:
            for number in range(count):
                random = Random(f"{seed} against C++ {number}")
                content = damaged(raw, random) if number % 3 == 0 else written(forged(json.loads(raw), random))
                (bundle / MANIFEST).write_bytes(resealed(content))
                python, cpp = by_python(bundle), by_cpp(probe, bundle)
                taken = "neither" if python and cpp else "cpp" if python else "python" if cpp else "both"
                outcomes[taken].append(number)
                if taken == "python":
                    print(f"case {number}: C++ says {cpp!r:.200}")
    return outcomes


def main() -> int:
    """Compare, print the counts, and fail where Python takes what C++ refuses."""
    outcomes = compare(int(sys.argv[1]), sys.argv[2:])
    print("taken by", ", ".join(f"{name} {len(numbers)}" for name, numbers in outcomes.items()))
    return int(bool(outcomes["python"]) or not outcomes["both"] or not outcomes["neither"])


if __name__ == "__main__":
    sys.exit(main())
