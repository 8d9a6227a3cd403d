"""The engine contract: names, shapes and element types of every engine's inputs and outputs.

The names are the same in ONNX, in every backend, in plans and in C++. B, M and N-M stay open, so one engine
serves every batch and every alpha.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from sacvit_deploy.config import ModelConfig
from sacvit_deploy.errors import UsageError
from sacvit_deploy.geometry import CHILDREN

STAGES = ("ee", "sac")
GLUE = ("view", "gather")  # what stands before and between the stages, as engines, for runtimes on a device
BASELINE = "deit"  # the same weights as a plain DeiT: what the cascade's speed is compared with
ROLES = (GLUE[0], STAGES[0], GLUE[1], STAGES[1], BASELINE)
FOR_GPU = "-gpu"  # behind the role of an engine that a variant holds a second time, laid out for a GPU

HALF = "fp16"  # the precision whose tensors are in half precision; int8's engines take and give fp32

Shape = tuple[int, ...]
DType = Literal["float32", "uint8", "int64", "variant"]  # `variant`: the variant's own, fp32 or fp16


class Sizes(NamedTuple):
    """The numbers a call fixes: B, M, N-M, and how many of B images continue (`gather` alone)."""

    batch: int
    targets: int = 1
    background: int = 1
    continuing: int = 1


class Open(NamedTuple):
    """An open dimension: one of `Sizes`, times a factor."""

    size: Literal["batch", "targets", "background", "continuing"]
    factor: int = 1


@dataclass(frozen=True)
class TensorContract:
    """Input or output of an engine: dimensions, numbers where they are fixed, and element type."""

    shape: tuple[int | Open, ...]
    dtype: DType = "variant"

    def at(self, sizes: Sizes) -> Shape:
        """Return the shape of a call."""
        return tuple(d if isinstance(d, int) else d.factor * getattr(sizes, d.size) for d in self.shape)


@dataclass(frozen=True)
class EngineContract:
    """Inputs and outputs of one engine, in order. optional: outputs that an engine may have behind the others."""

    inputs: Mapping[str, TensorContract]
    outputs: Mapping[str, TensorContract]
    optional: Mapping[str, TensorContract] = field(default_factory=dict)


def element_type(dtype: DType, precision: str) -> str:
    """Return the name of an element type in a variant's engines, such as `float16`."""
    if dtype != "variant":
        return dtype
    return "float16" if precision == HALF else "float32"


def engine_contract(role: str, config: ModelConfig) -> EngineContract:
    """Return the contract of one of ROLES for a model. Raises UsageError for another role."""
    geometry = config.geometry
    n, width, side = geometry.tokens, geometry.width, geometry.image_size
    batch, count, rest, k = Open("batch"), Open("targets"), Open("background"), Open("continuing")
    children = Open("targets", CHILDREN)

    def image(size: int) -> dict[str, TensorContract]:
        return {"image": TensorContract((batch, 3, size, size))}

    def request(rows: Open) -> dict[str, TensorContract]:
        return {
            "patches": TensorContract((rows, children, geometry.patch_values)),
            "positions": TensorContract((rows, children), "int64"),
            "target_features": TensorContract((rows, count, width)),
            "background": TensorContract((rows, rest, width)),
        }

    logits = {"logits": TensorContract((batch, geometry.classes), "float32")}
    confidence = {"confidence": TensorContract((batch, 2), "float32")}  # the highest probability, the sum of the logits
    scores = {"scores": TensorContract((batch, n), "float32")}
    features = {"features": TensorContract((batch, n, width))}
    embeddings = {"embeddings": TensorContract((batch, n, width))}
    pictures = {"pictures": TensorContract((batch, side, side, 3), "uint8")}
    if role == "view":
        return EngineContract(pictures, image(side // 2))
    if role == "ee":
        return EngineContract(image(side // 2), {**logits, **scores, **features, **embeddings}, confidence)
    if role == "gather":
        # `rows` are the continuing images; `slots` = 0..M-1 and `rest` = 0..N-M-1 say how many targets are wanted.
        indices = {"rows": TensorContract((k,), "int64"), "slots": TensorContract((count,), "int64")}
        indices["rest"] = TensorContract((rest,), "int64")
        reused = {} if config.method.background == "features" else embeddings
        targets = {"targets": TensorContract((k, count), "int64")}
        return EngineContract({**pictures, **scores, **indices, **features, **reused}, {**request(k), **targets})
    if role == "sac":
        return EngineContract(request(batch), logits, confidence)
    if role == BASELINE:
        return EngineContract(image(side), logits, confidence)
    raise UsageError(f"there is no engine {role!r}; there are: {', '.join(ROLES)}")
