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
from sacvit_deploy.typed import convert

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SELECTIONS = ("top_m", "window")  # how stage 2's targets follow from the scores: see `selection.PREFERENCES`
# Fields newer than schema 1, whose readers refuse unknown ones: written only where they differ from what was before.
NEWER: dict[str, dict[str, Any]] = {
    "geometry": {"norm_eps": 1e-6, "registers": 0, "pre_norm": False},
    "method": {"selection": SELECTIONS[0], "region_size": 5},
    "preprocessing": {"resize": "shortest_edge", "resize_rounding": "nearest"},
}
BEFORE_ROUNDING = {"resize_rounding": "nearest"}  # what a config without the field means
# No vision transformer comes near these; beyond them a few bytes of JSON would ask for any amount of memory.
LARGEST = {
    "image_size": 8192,
    "patch_size": 1024,
    "width": 65_536,
    "depth": 1024,
    "heads": 1024,
    "classes": 1 << 20,
    "registers": 4096,
}
LARGEST_HIDDEN, MOST_TOKENS = 1 << 20, 1 << 16
# Smaller deviations make numbers that overflow half precision's range many times over.
SMALLEST_STD, LARGEST_STATISTIC = 2.0**-20, 2.0**20


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
    norm_eps: float = 1e-6  # of every LayerNorm; timm's, while transformers writes its own into config.json
    registers: int = 0  # tokens beside the class token that carry no patch, as DINOv2 has them
    pre_norm: bool = False  # a LayerNorm before the first block, as CLIP has it

    def __post_init__(self) -> None:
        if not 0.0 < self.norm_eps < 1.0:
            raise UsageError(f"geometry: norm_eps is {self.norm_eps}; it must lie between 0 and 1, both excluded")
        if self.registers < 0:
            raise UsageError(f"geometry: registers must not be negative, not {self.registers}")
        for name in ("image_size", "patch_size", "width", "depth", "heads", "classes"):
            if getattr(self, name) < 1:
                raise UsageError(f"geometry: {name} must be positive, not {getattr(self, name)}")
        for name, largest in LARGEST.items():
            if getattr(self, name) > largest:
                raise UsageError(f"geometry: {name} is {getattr(self, name)}; it can be {largest:,} at most")
        if self.image_size % (2 * self.patch_size):
            raise UsageError(
                f"geometry: image size {self.image_size} is not a multiple of twice the patch size "
                f"({2 * self.patch_size}), so a half-size image has no whole patches"
            )
        if not (math.isfinite(self.mlp_ratio) and self.width * self.mlp_ratio <= LARGEST_HIDDEN):
            raise UsageError(f"geometry: mlp_ratio {self.mlp_ratio} is too large for width {self.width}")
        if self.hidden < 1:
            raise UsageError(f"geometry: mlp_ratio {self.mlp_ratio} leaves no channels inside the MLP")
        if self.width % self.heads:
            raise UsageError(f"geometry: width {self.width} does not divide into {self.heads} heads")
        if self.grid < 2:
            raise UsageError("geometry: fewer than 2x2 low-res tokens leave nothing to select")
        if self.tokens > MOST_TOKENS:
            raise UsageError(f"geometry: {self.tokens:,} low-res tokens are more than {MOST_TOKENS:,}")

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
    # Share of the low-res tokens, or of the window's where `selection` is window, that become targets.
    alpha: float = 0.5
    # How that share becomes a whole number, M: the paper's floor, CF-ViT's ceil.
    rounding: Literal["floor", "ceil"] = "floor"
    # How a parent's stage-1 feature reaches its four children.
    fusion: Literal["repeat", "expand", "none"] = "repeat"
    # What stage 2 reuses for the background: stage 1's input embedding or its output features.
    background: Literal["embeddings", "features"] = "embeddings"
    # The class token under clustered attention: mean of its two updates, or one update that attends to all tokens.
    class_token: Literal["mean", "union"] = "mean"
    attention: Literal["clustered", "global"] = "clustered"
    # Which tokens have the M highest scores: of all, or of the square window with the highest sum, as LF-ViT has it.
    selection: str = "top_m"
    # Tokens a side of that window.
    region_size: int = 5

    def __post_init__(self) -> None:
        for name, kind in typing.get_type_hints(type(self)).items():
            allowed = typing.get_args(kind)
            value = getattr(self, name)
            if typing.get_origin(kind) is Literal and value not in allowed:
                raise UsageError(f"method: {name} is {value!r}; it must be one of {', '.join(allowed)}")
        if self.selection not in SELECTIONS:
            raise UsageError(f"method: selection is {self.selection!r}; it must be one of {', '.join(SELECTIONS)}")
        # All of a window may be targets: the tokens outside are the background.
        if not (0.0 < self.alpha < 1.0 or (self.alpha == 1.0 and self.selection == "window")):
            excluded = "0 excluded" if self.selection == "window" else "both excluded"
            raise UsageError(f"method: alpha is {self.alpha}; it must lie between 0 and 1, {excluded}")
        if self.region_size < 1:
            raise UsageError(f"method: region_size must be positive, not {self.region_size}")
        if self.region_size > LARGEST["image_size"]:
            raise UsageError(f"method: region_size {self.region_size} is more than any image has tokens")
        if not 0.0 <= self.score_beta < 1.0:
            raise UsageError(f"method: score_beta is {self.score_beta}; it must be at least 0 and below 1")


@dataclass(frozen=True)
class Preprocessing:
    """Steps from a decoded image to a normalised S x S tensor.

    The shorter side, or, squashed, each side is resized to S / crop with Pillow's antialiased filter on 8-bit values,
    columns first, then rows, each rounded to 8 bits; the centre S x S is cut out, and each channel becomes
    (value / 255 - mean) / std.
    """

    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    crop: float = 0.875
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    # Which side becomes S / crop: the shorter one, or both, which changes the picture's proportions.
    resize: Literal["shortest_edge", "squash"] = "shortest_edge"
    # How S / crop becomes whole: down as torchvision and timm do, or to the nearest, as bundles did before the field.
    resize_rounding: Literal["floor", "nearest"] = "floor"

    def __post_init__(self) -> None:
        if self.resize not in ("shortest_edge", "squash"):
            raise UsageError(f"preprocessing: unknown resize {self.resize!r}")
        if self.resize_rounding not in ("floor", "nearest"):
            raise UsageError(f"preprocessing: unknown resize_rounding {self.resize_rounding!r}")
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
        if not SMALLEST_STD <= min(self.std) <= max(self.std) <= LARGEST_STATISTIC:
            raise UsageError(f"preprocessing: std is {self.std!r}; each must lie between 2^-20 and 2^20")
        if max(map(abs, self.mean)) > LARGEST_STATISTIC:
            raise UsageError(f"preprocessing: mean is {self.mean!r}; each must lie between -2^20 and 2^20")


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
        side, grid = self.method.region_size, self.geometry.grid
        if self.window is not None and side > grid:
            raise UsageError(f"method: region_size {side} is more than the {grid} low-res tokens a side")
        self.num_targets()  # raises unless both clusters have tokens

    @property
    def window(self) -> int | None:
        """Tokens of the window that all targets come from; None where they may come from anywhere."""
        return self.method.region_size**2 if self.method.selection == "window" else None

    def num_targets(self, alpha: float | None = None) -> int:
        """Return M, the number of targets, at an alpha, by default the model's. Raises UsageError unless 1 <= M < N."""
        method = self.method
        alpha = method.alpha if alpha is None else alpha
        return num_targets(alpha, self.geometry.tokens, method.rounding, self.window)

    @property
    def score_first_block(self) -> int:
        """First block whose class attention enters the scores; the paper takes later blocks without numbering them."""
        given = self.method.score_first_block
        return self.geometry.depth // 4 if given is None else given

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, which `from_dict` reads back unchanged."""
        data = dataclasses.asdict(self)
        for section, newer in NEWER.items():
            for name, default in newer.items():
                if data[section][name] == default:
                    del data[section][name]
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelConfig:
        """Read the JSON form. Raises UsageError for unknown fields and wrong types: a newer or foreign config."""
        if isinstance(data, Mapping) and isinstance(data.get("preprocessing"), Mapping):
            data = {**data, "preprocessing": {**BEFORE_ROUNDING, **data["preprocessing"]}}
        config: ModelConfig = convert("config", cls, data)
        return config
