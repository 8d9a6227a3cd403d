"""preprocessor_config.json of transformers' image processors, with what each does where the file is silent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sacvit_deploy.errors import CheckpointError
from sacvit_deploy.export.settings_fields import BYTE, Section, Settings, Triple, from_source, numbers

RESAMPLES = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
WARPED = 384  # pixels from which ConvNext's processor squashes where it cuts smaller ones
WAY_OUT = "; without this file, --mean, --std, --crop and --interpolation say what it should"
# What some processors do beside, and the runtime does not.
REFUSED = {
    "do_flip_channel_order": "its images are BGR, and the runtime's RGB",
    "rescale_offset": "its pixels are moved below 0 before they are normalised",
    "offset": "its pixels are moved below 0 before they are normalised",
}
HALF = (0.5, 0.5, 0.5)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Kind:
    """What a processor does where its file is silent, in the file's own words.

    mean, std: None where transformers' releases differ. shortest: one number is the shorter side, else both sides.
    """

    mean: Triple | None
    std: Triple | None
    resample: int
    size: int
    cut: int | None = None
    shortest: bool = False


VIT, CLIP = Kind(HALF, HALF, 2, 224), Kind(CLIP_MEAN, CLIP_STD, 3, 224, 224, shortest=True)
DEIT, CONVNEXT = Kind(HALF, HALF, 3, 256, 224), Kind(HALF, HALF, 3, WARPED, shortest=True)
# By how the name begins: behind it come Processor, ProcessorFast, Extractor. The extractors are of older releases, in
# which DeiT's and ConvNext's mean and std were ImageNet's.
KINDS = {
    "ViTImage": VIT,
    "ViTFeature": VIT,
    "DeiTImage": DEIT,
    "DeiTFeature": replace(DEIT, mean=None, std=None),
    "BitImage": CLIP,
    "CLIPImage": CLIP,
    "CLIPFeature": CLIP,
    "ConvNextImage": CONVNEXT,
    "ConvNextFeature": replace(CONVNEXT, mean=None, std=None),
}
CONVNEXTS = ("ConvNext",)
# The processor of a file that names none, by config.json's model_type, as transformers chooses it.
BY_MODEL = {
    "vit": "ViTImageProcessor",
    "vit_msn": "ViTImageProcessor",
    "deit": "DeiTImageProcessor",
    "dinov2": "BitImageProcessor",
    "dinov2_with_registers": "BitImageProcessor",
}
# Entries of a file that decide about a field of Settings.
DECIDE = {
    "mean": ("image_mean", "do_normalize"),
    "std": ("image_std", "do_normalize"),
    "interpolation": ("resample",),
    "crop": ("size", "crop_size", "do_center_crop", "do_resize", "crop_pct"),
    "resize": ("size", "do_resize"),
}


def read_processor(
    name: str,
    data: Mapping[str, Any],
    *,
    model_type: str | None = None,
    image_size: int | None = None,
    cropped: bool = False,
    scaled: bool = False,
) -> tuple[Settings, Settings]:
    """Read a preprocessor_config.json: what it says, and what its processor does where it is silent.

    model_type, image_size: config.json's, if any. cropped, scaled: flags say the crop; mean and std. Raises
    CheckpointError that names the file and the field.
    """
    told = Section(f"{name}: ", data)
    named = told.text("image_processor_type") or told.text("feature_extractor_type")
    title = named or BY_MODEL.get(model_type or "", "")
    kind = next((kind for begin, kind in KINDS.items() if title.startswith(begin)), None)
    notes = []
    if named and kind is None:
        notes.append(
            f"{name}: image_processor_type is {named}, which is read as if it "
            "were ViTImageProcessor; where it is silent, nothing is assumed"
        )
    for entry, reason in REFUSED.items():
        if told.flag(entry, False):
            raise CheckpointError(f"{name}: {entry} is true: {reason}")
    if told.flag("do_pad", False):
        notes.append(f"{name}: do_pad is true, while the runtime pads nothing; it resizes to the image size")
    top = Section(told.where, data if kind is None else _filled(data, kind))
    values: dict[str, Any] = {"interpolation": top.choice("resample", RESAMPLES)}
    if not scaled:
        values |= _normalisation(top)
    values |= _resizing(top, title, notes, cropped=cropped)
    said = {field for field in values if any(_decides(data.get(entry)) for entry in DECIDE[field])}
    from_file = from_source(name, Settings(**{field: value for field, value in values.items() if field in said}))
    silent = {field: value for field, value in values.items() if field not in said}
    by_default = from_source(f"what {title} does by default", Settings(**silent))
    seen = None if cropped else _seen(top, title)
    if None not in (seen, image_size) and seen != image_size:
        notes.append(
            f"{name} makes images of {seen} pixels, while config.json's image_size is {image_size}; the same share of "
            "the picture is taken at the weights' own size"
        )
    return replace(from_file, notes=tuple(notes)), by_default


def _decides(value: Any) -> bool:
    """Tell whether an entry decides anything: what is true goes by other entries, or by what is assumed."""
    return value is not None and value is not True


def _filled(data: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """Return a file's entries, and where it is silent those that its processor assumes."""
    cut = {} if kind.cut is None else {"crop_size": kind.cut, "do_center_crop": True}
    assumed = {"image_mean": kind.mean, "image_std": kind.std, "resample": kind.resample, "size": kind.size, **cut}
    return {**assumed, **{key: value for key, value in data.items() if value is not None}}


def _normalisation(top: Section) -> dict[str, Any]:
    factor, normal = top.number("rescale_factor"), top.flag("do_normalize", True)
    mean, std = (top.data.get("image_mean"), top.data.get("image_std")) if normal else ((0.0,) * 3, (1.0,) * 3)
    if not top.flag("do_rescale", True):
        raise CheckpointError(f"{top.where}do_rescale is false{_same(1.0, mean, std)}")
    if factor is not None and abs(factor * BYTE - 1) > 1e-6:
        raise CheckpointError(f"{top.where}rescale_factor is {factor:g} and not 1/255{_same(factor, mean, std)}")
    if not normal:
        return {"mean": mean, "std": std}
    return {"mean": top.triple("image_mean"), "std": top.triple("image_std", positive=True)}


def _same(factor: float, mean: Any, std: Any) -> str:
    """Return the end of a refusal, with the flags that do the same to pixels from 0 to 1 as the file to its own."""
    end = ", and SAC-ViT is served with pixels from 0 to 1; say --mean and --std"
    try:
        # value * factor, then minus mean, by std, is value / 255, minus mean / (255 factor), by std / (255 factor).
        flags = [numbers(float(item) / (BYTE * factor) for item in values) for values in (mean, std)]
    except (TypeError, ValueError, ZeroDivisionError):
        return end
    return f"{end}; what the file says of pixels from 0 to 255 is --mean {flags[0]} --std {flags[1]}"


def _resizing(top: Section, title: str, notes: list[str], *, cropped: bool) -> dict[str, Any]:
    """Return crop and resize. Raises CheckpointError where no crop of the resized picture gives the processor's."""
    if not top.flag("do_resize", True):
        notes.append(f"{top.where}do_resize is false, while the runtime always resizes; it squashes to the image size")
        return {"crop": 1.0, "resize": "squash"}
    side, resize = _resized(top, title)
    if side is None:
        return {}
    if cropped:
        return {"resize": resize}
    if title.startswith(CONVNEXTS):
        return {"crop": 1.0 if side >= WARPED else top.share("crop_pct") or 0.875, "resize": resize}
    cut = _cut(top)
    if cut is None:
        if resize == "shortest_edge":
            said = {True: "crop_size is missing", False: "do_center_crop is false", None: "no crop is named"}
            reason = said[top.data.get("do_center_crop")]
            notes.append(f"{top.where}{reason}, which leaves pictures oblong; their centre is cut out")
        return {"crop": 1.0, "resize": resize}
    if cut > side:
        raise CheckpointError(f"{top.where}crop_size is {cut}, more than size's {side} pixels; say --crop")
    crop = _exact_share(cut, side)
    if crop < 0.1:
        raise CheckpointError(f"{top.where}crop_size {cut} of size {side} is less than a tenth; say --crop")
    return {"crop": crop, "resize": resize}


def _resized(top: Section, title: str) -> tuple[int | None, str]:
    """Return the side that pictures are resized to, before a crop, and which side that is."""
    size = top.data.get("size")
    if not isinstance(size, Mapping):
        side, shortest = (
            top.square("size"),
            any(kind.shortest for begin, kind in KINDS.items() if title.startswith(begin)),
        )
    else:
        inner = top.section("size")
        shortest = inner.data.get("shortest_edge") is not None
        if shortest:
            if inner.data.get("longest_edge") is not None:
                raise CheckpointError(f"{top.where}size has a longest_edge, which the runtime can't keep to{WAY_OUT}")
            side = inner.size("shortest_edge")
        else:
            side = inner.size("height")
            if side is None or side != inner.size("width"):
                raise top.wrong("size", f"a square, or a shortest_edge{WAY_OUT}")
    if title.startswith(CONVNEXTS) and side is not None:
        shortest = side < WARPED
    return side, "shortest_edge" if shortest else "squash"


def _cut(top: Section) -> int | None:
    """Return the side of the square that is cut out of the centre, None where nothing is cut."""
    if not top.flag("do_center_crop", False):
        return None
    size = top.data.get("crop_size")
    if not isinstance(size, Mapping):
        return top.square("crop_size")
    inner = top.section("crop_size")
    height, width = inner.size("height"), inner.size("width")
    if height is None or height != width:
        raise top.wrong("crop_size", "a square")
    return height


def _seen(top: Section, title: str) -> int | None:
    """Return the side of the images that the processor makes, if it is told."""
    if not top.flag("do_resize", True):
        return None
    return _cut(top) or _resized(top, title)[0]


def _exact_share(cut: int, side: int) -> float:
    """Return cut / side, so rounded that cut / share, rounded down, is side again."""
    share = cut / side
    while math.floor(cut / share) < side:
        share = math.nextafter(share, 0.0)
    return share
