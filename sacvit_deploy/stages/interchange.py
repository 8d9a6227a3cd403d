"""Tensors that a context takes from other libraries, and gives to them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from sacvit_deploy.device.dlpack import BorrowedImages, borrow_images
from sacvit_deploy.device.exported import ExportedTensor
from sacvit_deploy.device.protocol import DeviceTensor, Rows
from sacvit_deploy.errors import UsageError, first_line
from sacvit_deploy.stages.context import ExecutionContext
from sacvit_deploy.stages.engine_set import STREAM_OF, UPLOADS


def borrow_batch(context: ExecutionContext, source: Any) -> BorrowedImages | UsageError:
    """Take a tensor that is on the context's device.

    Returns an error unless it is [B,S,S,3] uint8 without gaps: raised while a context is lent, it would cost the
    engines.
    """
    side = context.config.geometry.image_size
    try:
        with context.engine_set:
            return borrow_images(source, side, context.streams[UPLOADS])
    except Exception as error:  # each library has its own
        return refusal(side, first_line(error))


def refusal(side: int, reason: str) -> UsageError:
    """Return the error of a tensor on the device that is no batch of images [B,S,S,3]."""
    return UsageError(
        f"a tensor on the GPU is taken as it is, so it must be RGB, uint8 [B,{side},{side},3] and contiguous "
        f"({reason}); give others by .cpu(), to be resized and cropped"
    )


def merge_rows(
    context: ExecutionContext,
    name: str,
    first: Mapping[str, DeviceTensor],
    second: Mapping[str, DeviceTensor],
    size: int,
    rows: Sequence[int],
) -> ExportedTensor:
    """Return the output `name` of `size` images in memory of its own: `rows` are stage 2's, the others stage 1's.

    first, second: the outputs of stage 1 on all images, and of stage 2 on `rows`, which are in ascending order; the
    calling thread has waited for both.
    """
    place = {row: at for at, row in enumerate(rows)}
    parts = []
    for continued, group in itertools.groupby(range(size), place.__contains__):
        numbers = [place[row] if continued else row for row in group]
        parts.append(Rows(second if continued else first, numbers[0], numbers[-1] + 1))
    with context.engine_set:
        spec = context.engine("ee").outputs[name]
        shape = (size, *spec.shape[1:])
        return ExportedTensor(name, parts, shape, spec.dtype, context.memory, context.streams[STREAM_OF["sac"]])
