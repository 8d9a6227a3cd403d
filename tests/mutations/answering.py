"""The public class over many files: argv is BUNDLE; reads lines of JSON, each a list of paths.

Prints for each a list: [label and stage, probability], or the error's message for an image that is refused. Where the
stream raises, or gives anything else: `{"escaped": EXCEPTION}`.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

from sacvit_deploy import ImageError, Prediction, SACViT

BATCH, WORKERS = 16, 2


def told(result: object) -> Any:
    """Return what is printed of one image."""
    if isinstance(result, Prediction):
        return [f"{result.label}, stage {result.stage}", result.probability]
    if isinstance(result, ImageError):
        return str(result)
    return {"escaped": f"{type(result).__name__}: {result}"}


def main() -> None:
    """Answer until the input ends."""
    warnings.simplefilter("ignore")
    model = SACViT(Path(sys.argv[1]), backend="onnxruntime", precision="fp32", threads=1)
    for line in sys.stdin:
        try:
            said: Any = [told(result) for result in model.stream(json.loads(line), batch_size=BATCH, workers=WORKERS)]
        except Exception as error:
            said = {"escaped": f"{type(error).__name__}: {error}"}
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
