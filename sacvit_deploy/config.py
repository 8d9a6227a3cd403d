"""Model configuration, stored in checkpoints and bundles: geometry, method, preprocessing.

Every choice the paper (arXiv 2503.00060) leaves open is a field of `Method`; the default is what the paper describes
or, where it is silent, what its ancestors CF-ViT and LF-ViT do.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sacvit_deploy.errors import UsageError
from sacvit_deploy.geometry import num_targets

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SELECTIONS = ("top_m",)  # how stage 2's targets follow from the scores: see `glue.PREFERENCES`
FLOAT_LIMIT = 1e300  # JSON integers may exceed any float; NaN is not below it either


@dataclass(frozen=True)
class Geometry:
    """Sizes of the network. Raises UsageError for sizes that do not fit together."""

    image_size: int = 224  # S, pixels
    patch_size: int = 16  # P, pixels
    width: int = 384  # D, channels of a token
    depth: int = 12  # L, blocks
    heads: int = 6
    classes: int = 1000  # C
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        for name in ("image_size", "patch_size", "width", "depth", "heads", "classes"):
            if getattr(self, name) < 1:
                raise UsageError(f"geometry: {name} must be positive, not {getattr(self, name)}")
        if self.image_size % (2 * self.patch_size):
            raise UsageError(
                f"geometry: image size {self.image_size} is not a multiple of twice the patch size "
                f"({2 * self.patch_size}), so a half-size image has no whole patches"
            )
        if self.hidden < 1:
            raise UsageError(f"geometry: mlp_ratio {self.mlp_ratio} leaves no channels inside the MLP")
        if self.width % self.heads:
            raise UsageError(f"geometry: width {self.width} does not divide into {self.heads} heads")
        if self.grid < 2:
            raise UsageError("geometry: fewer than 2x2 low-res tokens leave nothing to select")

    @property
    def grid(self) -> int:
        """Low-res tokens per side, g; the hi-res grid has 2g per side."""
        return self.image_size // (2 * self.patch_size)

    @property
    def tokens(self) -> int:
        """Low-res tokens, N = g^2."""
        return self.grid**2

    @property
    def hidden(self) -> int:
        """Channels inside the MLP of a block."""
        return round(self.width * self.mlp_ratio)  # the ratio may be a fraction that floats only approximate

    @property
    def patch_values(self) -> int:
        """Values in one patch, 3PP."""
        return 3 * self.patch_size**2


@dataclass(frozen=True)
class Method:
    """Choices of the method. Fields and values have the same names in Python, JSON and C++."""

    # 2x2 mean of the normalised image, or the ancestors' bilinear resize with aligned corners.
    downsample: Literal["area", "bilinear_corners"] = "area"
    # One hi-res table, bicubically resized for stage 1, or one table per stage.
    positions: Literal["shared", "separate"] = "shared"
    # First block whose class attention counts, from zero; None is depth // 4.
    score_first_block: int | None = None
    score_beta: float = 0.99
    alpha: float = 0.5
    # How alpha * N becomes M: the paper's floor, CF-ViT's ceil.
    rounding: Literal["floor", "ceil"] = "floor"
    # How a parent's stage-1 feature reaches its four children.
    fusion: Literal["repeat", "expand", "none"] = "repeat"
    # What stage 2 reuses for the background: stage 1's input embedding or its output features.
    background: Literal["embeddings", "features"] = "embeddings"
    # The class token under clustered attention: mean of its two updates, or one update that attends to all tokens.
    class_token: Literal["mean", "union"] = "mean"
    attention: Literal["clustered", "global"] = "clustered"
    # How the targets are chosen: the M highest scores.
    selection: str = "top_m"

    def __post_init__(self) -> None:
        for name, kind in typing.get_type_hints(type(self)).items():
            allowed = typing.get_args(kind)
            value = getattr(self, name)
            if typing.get_origin(kind) is Literal and value not in allowed:
                raise UsageError(f"method: {name} is {value!r}; it must be one of {', '.join(allowed)}")
        if self.selection not in SELECTIONS:
            raise UsageError(f"method: selection is {self.selection!r}; it must be one of {', '.join(SELECTIONS)}")
        if not 0.0 < self.alpha < 1.0:
            raise UsageError(f"method: alpha is {self.alpha}; it must lie between 0 and 1, both excluded")
        if not 0.0 <= self.score_beta < 1.0:
            raise UsageError(f"method: score_beta is {self.score_beta}; it must be at least 0 and below 1")


@dataclass(frozen=True)
class Preprocessing:
    """Steps from a decoded image to a normalised S x S tensor.

    The shorter side is resized to round(S / crop) with Pillow's antialiased filter on 8-bit values, columns first, then
    rows, each rounded to 8 bits; the centre S x S is cut out, and each channel becomes (value / 255 - mean) / std.
    """

    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    crop: float = 0.875
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if self.interpolation not in ("bicubic", "bilinear"):
            raise UsageError(f"preprocessing: unknown interpolation {self.interpolation!r}")
        if not 0.1 <= self.crop <= 1.0:
            raise UsageError(f"preprocessing: crop is {self.crop}; it must be between 0.1 and 1")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if len(values) != 3 or not all(math.isfinite(v) for v in values):
                raise UsageError(f"preprocessing: {name} must be three finite numbers, not {values!r}")
            object.__setattr__(self, name, tuple(float(v) for v in values))
        if min(self.std) <= 0:
            raise UsageError("preprocessing: std must be positive")


@dataclass(frozen=True)
class ModelConfig:
    """Everything that building or running a model takes besides its weights."""

    geometry: Geometry = field(default_factory=Geometry)
    method: Method = field(default_factory=Method)
    preprocessing: Preprocessing = field(default_factory=Preprocessing)

    def __post_init__(self) -> None:
        first = self.score_first_block
        if not 0 <= first < self.geometry.depth:
            raise UsageError(f"method: score_first_block {first} lies outside the {self.geometry.depth} blocks")
        # Raises unless both clusters have tokens.
        num_targets(self.method.alpha, self.geometry.tokens, self.method.rounding)

    @property
    def score_first_block(self) -> int:
        """First block whose class attention enters the scores; the paper takes later blocks without numbering them."""
        given = self.method.score_first_block
        return self.geometry.depth // 4 if given is None else given

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, which `from_dict` reads back unchanged."""
        data = dataclasses.asdict(self)
        if self.method.selection == SELECTIONS[0]:
            del data["method"]["selection"]  # newer than schema 1, whose readers refuse unknown fields
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelConfig:
        """Read the JSON form. Raises UsageError for unknown fields and wrong types: a newer or foreign config."""
        config: ModelConfig = _convert("config", cls, data)
        return config


def _convert(where: str, kind: Any, value: Any) -> Any:
    """Convert a JSON value to a field's type: objects to dataclasses, integers to floats, lists to tuples."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise UsageError(f"{where} must be an object")
        hints = typing.get_type_hints(kind)
        unknown = set(value) - set(hints)
        if unknown:
            raise UsageError(f"{where}.{min(unknown)} is unknown")
        return kind(**{name: _convert(f"{where}.{name}", hints[name], item) for name, item in value.items()})
    origin = typing.get_origin(kind)
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_convert(where, float, item) for item in value)
    if origin is Literal and isinstance(value, str):  # its dataclass checks which words are allowed
        return value
    if kind is float and type(value) in (int, float) and abs(value) < FLOAT_LIMIT:
        return float(value)
    if kind in (int, str, int | None) and isinstance(value, kind) and not isinstance(value, bool):
        return value
    raise UsageError(f"{where} can't be {value!r}")
