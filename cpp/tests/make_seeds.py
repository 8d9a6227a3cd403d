"""Write the images that the fuzz target begins with: argv is FOLDER. They are those of `tests.mutations`."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.mutations.picture_seeds import image_files


def main() -> int:
    """Write them."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    files = [raw for kind, raw in image_files() if kind in ("JPEG", "PNG")]
    for number, raw in enumerate(files):
        (folder / f"{number:03}.image").write_bytes(raw)
    print(f"{len(files)} seeds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
