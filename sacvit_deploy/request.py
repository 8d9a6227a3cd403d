"""What crosses from stage 1 to stage 2 for one image, and its bytes on a network: docs/wire-format.md."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sacvit_deploy.arrays import Array
from sacvit_deploy.config import LARGEST, MOST_TOKENS, ModelConfig
from sacvit_deploy.contract import Sizes, element_type, engine_contract
from sacvit_deploy.errors import RequestError
from sacvit_deploy.geometry import CHILDREN, child_positions
from sacvit_deploy.glue import StageTwoInputs

MAGIC, VERSION = b"SACVITRQ", 1
# Magic, version, bytes of an element, bytes in all, CRC-32; then what the CRC covers: N, M, D, P, bytes of the name,
# stage 1's probability, the variant's digest.
HEADER = struct.Struct("<8s H H I I 5I d 32s")
NAMELESS = "<request>"  # what an image is called that came without a name
CHECKED_FROM = struct.calcsize("<8s H H I I")
ELEMENTS: dict[int, np.dtype[Any]] = {2: np.dtype("<f2"), 4: np.dtype("<f4")}


@dataclass(frozen=True, eq=False)
class StageTwoRequest:
    """An image that continues, on its way to stage 2: made by `StageOne`, answered by `StageTwo`.

    variant: digest of the variant it was made with, 64 hexadecimal digits; stage 2 answers for no other. source: the
    image's name. stage_one_probability: stage 1's highest. inputs: the SAC engine's inputs, with B = 1. timing: seconds
    by step so far, which `to_bytes` leaves out. It pickles; to cross a network among strangers take `to_bytes`.
    """

    variant: str
    source: str
    stage_one_probability: float
    inputs: StageTwoInputs
    timing: Mapping[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"StageTwoRequest(source={self.source!r}, variant={self.variant[:8]}, targets={self.targets})"

    @property
    def targets(self) -> int:
        """Number of targets, M."""
        return int(self.inputs.targets.shape[1])

    def to_bytes(self) -> bytes:
        """Write the request as docs/wire-format.md says."""
        inputs = self.inputs
        width, background = inputs.target_features.shape[2], inputs.background.shape[1]
        element = ELEMENTS[inputs.target_features.dtype.itemsize]
        name = self.source.encode("utf-8", "surrogateescape")
        patch = math.isqrt(inputs.patches.shape[2] // 3)
        body = (
            inputs.targets.astype("<u4").tobytes(),
            inputs.target_features.astype(element, copy=False).tobytes(),
            inputs.background.astype(element, copy=False).tobytes(),
            inputs.patches.tobytes(),
            name,
        )
        total = HEADER.size + sum(map(len, body))
        header = HEADER.pack(
            MAGIC, VERSION, element.itemsize, total, 0, background + self.targets, self.targets, width, patch,
            len(name), self.stage_one_probability, bytes.fromhex(self.variant),
        )  # fmt: skip
        check = zlib.crc32(header[CHECKED_FROM:])
        for part in body:
            check = zlib.crc32(part, check)
        sealed = header[: CHECKED_FROM - 4] + check.to_bytes(4, "little") + header[CHECKED_FROM:]
        return b"".join((sealed, *body))

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview) -> StageTwoRequest:
        """Read what `to_bytes` wrote. Nothing of a claimed size is allocated: arrays are views of the bytes that came.

        Raises RequestError for anything else. Whether it is of the right bundle is `StageTwo`'s to check.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):  # bytes(10**12) would be as many zeros
            raise RequestError(f"a {type(data).__name__} is no request to stage 2; give the bytes of to_bytes()")
        return _read(bytes(data))


def split_requests(data: bytes) -> list[StageTwoRequest | RequestError]:
    """Read requests that stand one behind the other; one that is damaged gives its error in its place.

    Raises RequestError where a length is damaged, so that it can't be told where the next one begins.
    """
    found: list[StageTwoRequest | RequestError] = []
    view, at = memoryview(data), 0
    while at < len(data):
        total = _length(view[at:])
        try:
            found.append(_read(bytes(view[at : at + total])))
        except RequestError as error:
            found.append(error)
        at += total
    return found


def _length(data: bytes | memoryview) -> int:
    """Return the bytes of the request that `data` begins with. Raises RequestError for another thing and a cut one."""
    if len(data) < HEADER.size or bytes(data[:8]) != MAGIC:
        raise RequestError(
            f"{len(data)} bytes are no request to stage 2, which has at least {HEADER.size} and begins with "
            f"{MAGIC.decode()}; send what StageTwoRequest.to_bytes() gives"
        )
    version, _, total = struct.unpack_from("<HHI", data, 8)
    if version != VERSION:
        raise RequestError(
            f"the request to stage 2 has format {version}, and this sacvit-deploy reads {VERSION}; install the same "
            "version on both sides"
        )
    if not HEADER.size <= total <= len(data):
        raise RequestError(
            f"the request to stage 2 says it has {total:,} bytes, and {len(data):,} came; it was cut, send it again"
        )
    return int(total)


def _read(data: bytes) -> StageTwoRequest:
    if _length(data) != len(data):
        raise RequestError(f"{len(data) - _length(data):,} bytes stand behind the request to stage 2; send one request")
    _, _, size, _, check, tokens, count, width, patch, named, probability, digest = HEADER.unpack_from(data)
    if zlib.crc32(memoryview(data)[CHECKED_FROM:]) != check:
        raise RequestError("the request to stage 2 was changed on its way (its checksum differs); send it again")
    grid = math.isqrt(tokens)
    fits = size in ELEMENTS and 1 <= count < tokens <= MOST_TOKENS and grid * grid == tokens
    if not (fits and 1 <= width <= LARGEST["width"] and 1 <= patch <= LARGEST["patch_size"]):
        raise RequestError(
            f"the request to stage 2 claims {count:,} targets of {tokens:,} tokens of width {width:,} in {size}-byte "
            f"numbers and patches of {patch:,} pixels, which no model has; send what StageTwoRequest.to_bytes() gives"
        )
    values = 3 * patch * patch
    sizes = (4 * count, count * width * size, (tokens - count) * width * size, CHILDREN * count * values, named)
    if HEADER.size + sum(sizes) != len(data):
        raise RequestError(
            f"the request to stage 2 has {len(data):,} bytes, and its sizes ask for {HEADER.size + sum(sizes):,}; "
            "send what StageTwoRequest.to_bytes() gives"
        )
    starts = [HEADER.size]
    for part in sizes:
        starts.append(starts[-1] + part)

    def array(number: int, dtype: Any, *shape: int) -> Array:
        return np.frombuffer(data, dtype, math.prod(shape), starts[number]).reshape(shape)

    targets = array(0, "<u4", 1, count).astype(np.int64)
    if targets.max() >= tokens or len(np.unique(targets)) != count:
        raise RequestError(f"the request to stage 2 has targets that are no {count} of {tokens} tokens; it was forged")
    if not 0.0 <= probability <= 1.0:  # NaN, too, fails this
        raise RequestError(f"the request to stage 2 has {probability} as a probability; it was forged")
    element = ELEMENTS[size]
    inputs = StageTwoInputs(
        patches=array(3, np.uint8, 1, CHILDREN * count, values),
        positions=child_positions(targets, grid),
        target_features=array(1, element, 1, count, width),
        background=array(2, element, 1, tokens - count, width),
        targets=targets,
    )
    name = data[starts[4] :].decode("utf-8", "surrogateescape")
    return StageTwoRequest(digest.hex(), name, probability, inputs)


def check_request(request: StageTwoRequest, variant: str, config: ModelConfig, precision: str) -> None:
    """Raise RequestError unless a request is of this variant and has its shapes and its precision's elements."""
    source = request.source or NAMELESS
    if request.variant != variant:
        raise RequestError(
            f"{source}: the request is of another bundle or precision ({request.variant[:12]}) than stage 2 "
            f"has open ({variant[:12]}); open the same bundle with the same precision= on both sides"
        )
    inputs, tokens = request.inputs, config.geometry.tokens
    sizes = Sizes(1, request.targets, tokens - request.targets)
    for name, expected in engine_contract("sac", config).inputs.items():
        array = getattr(inputs, name)
        if array.shape != expected.at(sizes):
            raise RequestError(
                f"{source}: the request has {list(array.shape)} as `{name}`, where this model has "
                f"{list(expected.at(sizes))}; make it with StageOne"
            )
    element = element_type("variant", precision)
    for name in ("target_features", "background"):  # patches, too, are the variant's in the engine; here they are uint8
        if (dtype := getattr(inputs, name).dtype) != element:
            raise RequestError(
                f"{source}: the request has {dtype} as `{name}`, where {precision} has {element}; make it with StageOne"
            )
