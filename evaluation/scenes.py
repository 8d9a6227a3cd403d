"""Rendered scenes as the training room writes them: images with the object's box and size."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from sacvit_deploy.arrays import Array, Pixels
from sacvit_deploy.config import Preprocessing
from sacvit_deploy.errors import ImageError, UsageError
from sacvit_deploy.evaluation.labelled_images import Float, LabelledImages
from sacvit_deploy.images.preprocess import fit, resized_shape

SIZE_EDGES = (16.0, 28.0, 50.0, 90.0, 151.0)  # px of the scene; about equally many in each
# Element type and number of dimensions.
ARRAYS = {"images": ("u1", 4), "labels": ("i8", 1), "object_px": ("f4", 1), "boxes": ("i2", 2)}
FINISHED = "scenes.json"  # written last


def open_scenes(folder: Path, classes: int, size: int, preprocessing: Preprocessing) -> LabelledImages:
    """Open a rendered split, or the `test` split of a folder of splits.

    Scenes of the model's image size `size` are used as they are; others go through its preprocessing. Raises UsageError
    where the folder is not a finished split or has more classes than the bundle, ImageError where its arrays are
    damaged.
    """
    if not (folder / FINISHED).exists() and (folder / "test" / FINISHED).exists():
        folder = folder / "test"
    facts = _facts(folder)
    arrays = {name: _array(folder / f"{name}.npy", *kind) for name, kind in ARRAYS.items()}
    images, labels = arrays["images"], np.asarray(arrays["labels"])
    count, height, width = images.shape[:3]
    if {len(array) for array in arrays.values()} != {count} or images.shape[3] != 3 or arrays["boxes"].shape[1] != 4:
        raise ImageError(f"{folder}: its arrays differ in length or shape; render the scenes again")
    if count == 0:
        raise UsageError(f"{folder} holds no scenes; render some with sacvit_deploy.training.dataset")
    if labels.min() < 0 or labels.max() >= classes:
        raise UsageError(
            f"{folder} has labels from {labels.min()} to {labels.max()}, but the bundle has the classes 0 to "
            f"{classes - 1}; use the bundle that was trained on these scenes"
        )

    def load(row: int) -> Pixels:
        pixels = np.array(images[row])
        return pixels if (height, width) == (size, size) else fit(Image.fromarray(pixels), size, preprocessing)

    split = facts.get("split", folder.name)
    return LabelledImages(
        kind="scenes",
        source=f"{folder} ({split}, seed {facts.get('seed', '?')})",
        labels=labels,
        names=[f"{split} scene {row}" for row in range(count)],
        load=load,
        object_px=np.asarray(arrays["object_px"], dtype=np.float64),
        boxes=fitted_boxes(arrays["boxes"], (width, height), size, preprocessing),
    )


def fitted_boxes(boxes: Array, scene: tuple[int, int], size: int, preprocessing: Preprocessing) -> Float:
    """Map boxes [n,4] in px of a scene of (width, height) to px of the model's view [n,4], clipped to it.

    A box outside the view's crop keeps no area.
    """
    width, height = scene
    out: Float = boxes.astype(np.float64)
    if (width, height) != (size, size):
        scaled = np.array(resized_shape((width, height), size, preprocessing))
        offset = np.round((scaled - size) / 2)
        out = out * np.tile(scaled / (width, height), 2) - np.tile(offset, 2)
    return out.clip(0, size)


def size_buckets(object_px: Float) -> dict[str, npt.NDArray[np.bool_]]:
    """Sort object sizes [n] into buckets: name -> [n] bool, for each bucket that is not empty.

    Sizes outside the edges get buckets of their own.
    """
    between = [f"{low:.0f}-{high:.0f} px" for low, high in itertools.pairwise(SIZE_EDGES)]
    names = [f"< {SIZE_EDGES[0]:.0f} px", *between, f">= {SIZE_EDGES[-1]:.0f} px"]
    bucket = np.digitize(object_px, SIZE_EDGES)
    return {name: bucket == number for number, name in enumerate(names) if (bucket == number).any()}


def _facts(folder: Path) -> dict[str, object]:
    try:
        facts = json.loads((folder / FINISHED).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(
            f"{folder} holds no finished scenes (no {FINISHED}); render them with sacvit_deploy.training.dataset, or "
            "name a class-per-folder data set with --data"
        ) from error
    except (OSError, ValueError) as error:
        raise ImageError(f"can't read {folder / FINISHED} ({error}); render the scenes again") from error
    return facts if isinstance(facts, dict) else {}


def _array(path: Path, dtype: str, dimensions: int) -> Array:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ImageError(f"can't read {path} ({str(error).splitlines()[0]}); render the scenes again") from error
    if not isinstance(array, np.ndarray) or array.dtype != np.dtype(dtype) or array.ndim != dimensions:
        kind = f"{np.dtype(dtype)} array of {dimensions} dimensions"
        raise ImageError(f"{path} is not the {kind} it should be; render the scenes again")
    return array
