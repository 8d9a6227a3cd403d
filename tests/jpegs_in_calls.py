"""Decoding on a GPU, by nvImageCodec on the processor, and how many images each of its calls has."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

WAIT = 5.0  # seconds for a second image to come, where it should come at once


def count_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let `decode="gpu"` decode on the processor; return the sizes of calls, the first of which waits for others.

    Skips the test where nvImageCodec is missing.
    """
    pytest.importorskip("nvidia.nvimgcodec", reason="NOT TESTED: nvImageCodec; install nvidia-nvimgcodec-cu13")
    from sacvit_deploy.backends.nvimgcodec import open_jpegs as module
    from sacvit_deploy.backends.nvimgcodec.device_jpegs import DeviceJpegs
    from sacvit_deploy.backends.nvimgcodec.jpeg_decoder import JpegDecoder

    open_jpegs, decode = module.open_jpegs, JpegDecoder.decode
    opened: list[DeviceJpegs] = []
    sizes: list[int] = []

    def on_the_processor(config: Any, number: int, device_memory: int | None = None) -> DeviceJpegs:
        opened.append(open_jpegs(config, None, device_memory))
        return opened[-1]

    def counted(self: JpegDecoder, files: Sequence[bytes], stream: Any) -> Any:
        if opened:  # else it is the trial
            limit = time.monotonic() + WAIT
            while not sizes and not len(opened[-1]._batcher) and time.monotonic() < limit:
                time.sleep(0.01)
            sizes.append(len(files))
        return decode(self, files, stream)

    monkeypatch.setattr(module, "open_jpegs", on_the_processor)
    monkeypatch.setattr(JpegDecoder, "decode", counted)
    return sizes
