"""What the machine is, and how fast its bus carries the images of a batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from sacvit_deploy.backends.device_name import parse_device
from sacvit_deploy.benchmarks.gpu_check.check_settings import Row, Settings
from sacvit_deploy.benchmarks.gpu_check.subject import on_device, open_files
from sacvit_deploy.benchmarks.machine.fingerprint import fingerprint
from sacvit_deploy.device.cuda import find_gpu

BYTES = 1 << 27
CARD = "card"


def measure(settings: Settings) -> Iterator[Row]:
    """Yield a row for each fact. Raises BackendError where the device is missing."""
    machine = fingerprint()
    for name, value in {**machine, **machine["libraries"]}.items():
        if isinstance(value, (str, int, float)):
            yield {"fact": name, "value": value}
    _, backend, files = open_files(settings.speed, settings)
    device = parse_device(settings.device)
    if device.name == "cuda":
        gpu = find_gpu(device.number)
        yield {"fact": CARD, "value": gpu.name}
        yield {"fact": "compute capability", "value": gpu.compute_capability}
        yield {"fact": "card's memory, GiB", "value": round(gpu.memory / 2**30, 1)}
        yield {"fact": "CUDA of the driver, of the library", "value": f"{gpu.driver}, {gpu.cuda}"}
    else:
        yield {"fact": CARD, "value": backend.title}
    yield {"fact": "runtime", "value": backend.description}
    memory = on_device(backend, files, settings).memory
    memory.activate()
    stream, dtype = memory.stream(), np.dtype(np.uint8)
    tensor, host = memory.allocate((BYTES,), dtype), memory.pinned((BYTES,), dtype)
    host[:] = 1

    def copying(copy: Callable[[], None]) -> float:
        copy()
        memory.synchronize(memory.record_event(stream))
        start = time.perf_counter()
        copy()
        memory.synchronize(memory.record_event(stream))
        return round(BYTES / (time.perf_counter() - start) / 1e9, 2)

    yield {"fact": "up from pinned memory, GB/s", "value": copying(lambda: memory.upload(tensor, host, stream))}
    yield {"fact": "down into pinned memory, GB/s", "value": copying(lambda: memory.download(host, tensor, stream))}
    side = 224
    pictures = [np.ones((side, side, 3), np.uint8) for _ in range(256)]
    target = memory.pinned((len(pictures), side, side, 3), dtype)
    start = time.perf_counter()
    np.stack(pictures, out=target)
    yield {"fact": "one image into pinned memory, us", "value": round(1e6 * (time.perf_counter() - start) / 256, 1)}
    memory.free(tensor)
    memory.close_stream(stream)
