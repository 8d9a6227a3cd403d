"""Ask a Triton server that has the models of `sacvit triton`: python examples/triton_client.py --help

Needs tritonclient[grpc] and numpy alone. One request for each image, many at a time: Triton makes the batches.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton


def ask(client: triton.InferenceServerClient, path: Path, gate: dict[str, str]) -> str:
    """Return one image's answer as a line of text."""
    encoded = triton.InferInput("encoded", [1, 1], "BYTES")
    encoded.set_data_from_numpy(np.array([[path.read_bytes()]], object))
    outputs = [triton.InferRequestedOutput(name) for name in ("label", "probability", "stage")]
    try:
        result = client.infer("sacvit", [encoded], outputs=outputs, request_id=path.name, parameters=gate)
    except triton.InferenceServerException as error:
        return f"{path}  {error.message()}"
    label, probability, stage = (result.as_numpy(output.name()).item() for output in outputs)
    return f"{path}  {label.decode()}  {probability:.1%}  stage {stage}"


def main() -> None:
    """Print an answer for each image, in order."""
    parser = argparse.ArgumentParser(description="Classify images on a Triton server.")
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--url", default="127.0.0.1:8001", help="the server's gRPC address")
    parser.add_argument("--eta", type=float, help="exit above this probability; else the repository's")
    parser.add_argument("--alpha", type=float, help="share of tokens that stage 2 sees in full")
    options = parser.parse_args()
    given: dict[str, Any] = {"eta": options.eta, "alpha": options.alpha}
    gate = {name: str(value) for name, value in given.items() if value is not None}
    client = triton.InferenceServerClient(options.url)
    with ThreadPoolExecutor(16) as pool:
        for line in pool.map(lambda path: ask(client, path, gate), options.images):
            print(line)


if __name__ == "__main__":
    main()
