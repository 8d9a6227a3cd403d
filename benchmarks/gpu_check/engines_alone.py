"""Every engine alone: the device's time for a call, and the host's for queueing it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sacvit_deploy.arrays import Array
from sacvit_deploy.benchmarks.gpu_check.check_settings import Row, Settings
from sacvit_deploy.benchmarks.gpu_check.subject import Subject, open_subject
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.contract import BASELINE, GLUE, STAGES, Sizes, engine_contract
from sacvit_deploy.device.protocol import DeviceTensor, batch_shape
from sacvit_deploy.errors import BackendError
from sacvit_deploy.geometry import CHILDREN
from sacvit_deploy.stages.context_pool import ContextPool
from sacvit_deploy.stages.engine_set import STREAM_OF, EngineSet

WARM, ROUNDS, MOST = 4, 3, 300  # calls


def measure(settings: Settings) -> Iterator[Row]:
    """Yield a row for each batch and engine; `gather` is given the share of the batch that continues."""
    yield from measure_engines(open_subject(settings), settings, settings.batches)


def measure_engines(subject: Subject, settings: Settings, batches: Sequence[int]) -> Iterator[Row]:
    """Yield the rows of a subject that is open; where an engine fails, one that says why."""
    engine_sets = {pool: EngineSet(pool.device) for pool in (subject.cascade, subject.plain)}
    roles: dict[tuple[str, str], ContextPool] = {(role, role): subject.cascade for role in (*STAGES, *GLUE)}
    roles |= {(BASELINE, "ee"): subject.plain, ("whole", "view"): subject.plain}  # in the roles of stage 1
    for batch in batches:
        for (name, role), pool in roles.items():
            try:
                times = measure_engine(subject, engine_sets[pool], name, role, batch, settings)
                yield {"batch": batch, "engine": name, **times}
            except BackendError as error:
                yield {"batch": batch, "engine": name, "why not": str(error)}


def measure_engine(
    subject: Subject, engine_set: EngineSet, name: str, role: str, batch: int, settings: Settings
) -> Row:
    """Call one engine again and again, and return milliseconds a call. Raises BackendError."""
    engine, memory, stream = engine_set.engine(role), engine_set.memory, engine_set.streams[STREAM_OF[role]]
    config = subject.config
    rows = max(1, round(settings.share * batch)) if role == "gather" else batch
    count = config.num_targets()
    sizes = Sizes(batch, count, config.geometry.tokens - count, rows)
    dtypes = {key: spec.dtype for key, spec in engine.inputs.items()}
    tensors: dict[str, DeviceTensor] = {}
    with engine_set:
        try:
            for key, array in inputs(name, config, sizes, dtypes).items():
                tensors[key] = memory.allocate(array.shape, array.dtype)
                memory.upload(tensors[key], array, stream)
            for key, spec in engine.outputs.items():
                # The outputs of `gather` alone have more open dimensions than the batch's.
                contract = engine_contract(role, config).outputs
                shape = contract[key].at(sizes) if role == "gather" else batch_shape(spec, batch)
                tensors[key] = memory.allocate(shape, spec.dtype)
            smallest = min((tensors[key] for key in engine.outputs), key=lambda tensor: tensor.nbytes)
            host = memory.pinned(smallest.shape, smallest.dtype)

            def call() -> None:
                engine.enqueue(tensors, stream)

            def fetch() -> None:
                memory.download(host, smallest, stream)

            return {"rows": rows, **timed(engine_set, role, call, fetch, settings.seconds)}
        finally:
            memory.synchronize(memory.record_event(stream))
            for tensor in tensors.values():
                memory.free(tensor)


def inputs(name: str, config: ModelConfig, sizes: Sizes, dtypes: Mapping[str, np.dtype[Any]]) -> dict[str, Array]:
    """Return inputs of a call that an engine accepts: indices in range and in order, all else random."""
    rng = np.random.default_rng(0)
    tokens = config.geometry.tokens
    numbers = {
        "rows": np.arange(sizes.continuing),
        "slots": np.arange(sizes.targets),
        "rest": np.arange(sizes.background),
        "positions": np.sort(rng.integers(0, CHILDREN * tokens, (sizes.batch, CHILDREN * sizes.targets))),
    }
    arrays = {}
    for key, tensor in engine_contract("view" if name == "whole" else name, config).inputs.items():
        dtype, shape = dtypes[key], tensor.at(sizes)
        if key in numbers:
            arrays[key] = numbers[key].astype(np.int64)
        elif dtype == np.uint8:
            arrays[key] = rng.integers(0, 256, shape, dtype=np.uint8)
        else:
            arrays[key] = rng.standard_normal(shape, dtype=np.float32).astype(dtype)
    return arrays


def timed(engine_set: EngineSet, role: str, call: Callable[[], None], fetch: Callable[[], None], seconds: float) -> Row:
    """Return the device's and the host's milliseconds a call, of the round in which the device took least.

    fetch: downloads something after the last call, as a device without events of its own waits for nothing else.
    """
    memory, stream = engine_set.memory, engine_set.streams[STREAM_OF[role]]

    def many(count: int) -> tuple[float, float]:
        before, start = memory.record_event(stream), time.perf_counter()
        for _ in range(count):
            call()
        queued = time.perf_counter() - start
        fetch()
        after = memory.record_event(stream)
        memory.synchronize(after)
        return 1000 * memory.elapsed(before, after) / count, 1000 * queued / count

    many(WARM)
    once = max(many(1)[0] / 1000, 1e-6)
    count = int(min(MOST, max(3, seconds / once)))
    device, host = min(many(count) for _ in range(ROUNDS))
    return {"device ms": device, "queued in ms": host, "calls": count}
