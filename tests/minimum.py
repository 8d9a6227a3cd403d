"""The oldest versions that pyproject.toml allows: an environment of them, the runtime in it, and the tests.

    python tests/minimum.py                     with torch, on this Python
    python tests/minimum.py --runtime           what `[cpu]` installs alone, without torch
    python tests/minimum.py --torch torch==2.9.0 --index-url ADDRESS

For every requirement it takes the oldest release that pyproject.toml allows and this Python has a wheel of. Where two
of them can't stand together, pip says so: then one of the bounds is wrong. What was run is in docs/install.md.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUNDLE, PICTURES = ROOT / "examples/int8/model.sacvit", ROOT / "examples/pictures"
RUNTIME = ("cpu",)
WHOLE = ("cpu", "openvino", "export", "int8", "train", "plot", "dev")
REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+(?:\[[a-z,]+\])?)>=([0-9.]+)([^;]*);?(.*)")


def requirements(project: str, extras: Iterable[str]) -> Iterator[tuple[str, str, str, str]]:
    """Give name, lower bound, other bounds and marker of what a pyproject.toml asks for with these extras."""
    for key in ("dependencies", *extras):
        found = re.search(rf"^{key} = \[(.*?)\]$", project, re.DOTALL | re.MULTILINE)
        assert found, f"pyproject.toml has no {key}"
        for requirement in re.findall(r'"([^"]+)"', found[1]):
            parts = REQUIREMENT.fullmatch(requirement)
            assert parts, f"{requirement} in pyproject.toml has no lower bound"
            yield parts[1], parts[2], parts[3], parts[4].strip()


def numbers(version: str) -> tuple[int, ...]:
    """Return a version's numbers, for comparisons; trailing zeros don't count."""
    return tuple(int(part) for part in re.sub(r"(\.0+)+$", "", version).split("."))


def oldest(pip: list[str], name: str, bound: str) -> str:
    """Return the oldest release of a package that is not below `bound` and has a wheel for pip's Python.

    Of a package that never has wheels, the oldest that is not below.
    """
    listed = subprocess.run([*pip, "index", "versions", name], capture_output=True, text=True, check=True).stdout
    found = re.search(r"^Available versions: (.*)$", listed, re.MULTILINE)
    plain = [version for version in found[1].split(", ") if re.fullmatch(r"[0-9.]+", version)] if found else []
    allowed = sorted((version for version in plain if numbers(version) >= numbers(bound)), key=numbers)
    assert allowed, f"pip lists no {name} >= {bound}"
    # The list has releases without a wheel for this Python, too.
    attempt = [*pip, "install", "-q", "--dry-run", "--no-deps", "--only-binary", ":all:"]
    for version in allowed:
        if subprocess.run([*attempt, f"{name}=={version}"], capture_output=True).returncode == 0:
            return version
    return allowed[0]


def pins(pip: list[str], extras: Iterable[str], given: Iterable[str]) -> dict[str, str]:
    """Return, by name, the requirements with which pip installs the oldest releases allowed, but for those `given`."""
    oldest_of: dict[str, str] = {}
    found: dict[str, str] = {}
    for name, bound, more, marker in requirements((ROOT / "pyproject.toml").read_text(encoding="utf-8"), extras):
        if name in given:
            continue
        version = oldest(pip, name, bound)
        # Of two extras that ask for one package, the newer bound holds.
        if numbers(version) >= numbers(oldest_of.get(name, "0")):
            oldest_of[name] = version
            found[name] = f"{name}=={version}{more}{'; ' + marker if marker else ''}"
    return found


def main() -> None:
    """Make the environment, print its versions, and run bundle and tests in it. Raises CalledProcessError."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="the Python to try  [default: this one]")
    parser.add_argument("--runtime", action="store_true", help="what [cpu] installs alone")
    parser.add_argument("--folder", type=Path, help="of the environment  [default: build/minimum-PYTHON]")
    parser.add_argument("--torch", nargs=argparse.REMAINDER, help="what to tell pip to install torch; the last option")
    options = parser.parse_args()
    folder = options.folder or ROOT / f"build/minimum-{Path(options.python).name}{'-runtime' * options.runtime}"
    subprocess.run([options.python, "-m", "venv", "--clear", folder], check=True)
    python = str(folder / "bin/python")
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    wanted = pins(pip, RUNTIME if options.runtime else WHOLE, ["torch"] if options.torch else [])
    if options.torch:
        subprocess.run([*pip, "install", "-q", *options.torch], check=True)
    subprocess.run([*pip, "install", "-q", *wanted.values()], check=True)
    subprocess.run([*pip, "install", "-q", "--no-deps", "-e", ROOT], check=True)
    subprocess.run([python, "-V"], check=True)
    subprocess.run([*pip, "list"], check=True)
    subprocess.run([folder / "bin/sacvit", "verify", BUNDLE], check=True)
    subprocess.run([folder / "bin/sacvit-infer", PICTURES, "--bundle", BUNDLE], check=True)
    if not options.runtime:
        subprocess.run([python, "-m", "pytest", "-q", "-m", "not slow"], cwd=ROOT, check=True)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
