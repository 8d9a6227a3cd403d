"""Rendering: a scene follows from split, seed and index alone, and its ground truth matches its pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sacvit_deploy.training.scenes import render as module
from sacvit_deploy.training.scenes.backgrounds import Split
from sacvit_deploy.training.scenes.classes import CLASSES, DISTRACTORS, LABELS, MIRROR
from sacvit_deploy.training.scenes.render import OBJECT_PX, SCENE, ObjectLibrary, render

LibraryOf = Callable[[Split], ObjectLibrary]


def test_classes_are_sixty_distinct_objects_and_distractors_are_none_of_them() -> None:
    codes = {c.code for c in CLASSES}
    assert len(CLASSES) == len(set(LABELS)) == len(codes) == 60
    assert not codes & set(DISTRACTORS)


def test_mirror_is_its_own_inverse_and_only_clocks_change() -> None:
    assert [MIRROR[MIRROR[i]] for i in range(60)] == list(range(60))
    changed = {LABELS[i] for i in range(60) if MIRROR[i] != i}
    assert changed == {"clock-1", "clock-11", "clock-3", "clock-9"}


def test_scene_depends_on_split_seed_and_index_alone(library_of: LibraryOf) -> None:
    first, again = render(library_of("train"), 3, 11), render(library_of("train"), 3, 11)
    assert np.array_equal(first.pixels, again.pixels)
    assert (first.label, first.object_px, first.box) == (again.label, again.object_px, again.box)
    others = [render(library_of("test"), 3, 11), render(library_of("train"), 4, 11), render(library_of("train"), 3, 71)]
    assert all(not np.array_equal(first.pixels, other.pixels) for other in others)
    assert [other.label for other in others] == [11, 11, 11]


@pytest.mark.parametrize("canvas", [(224, 224), (640, 480), (300, 500)])
def test_box_holds_exactly_the_object(
    library_of: LibraryOf, canvas: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Render with a visible and with a transparent object: the pixels that differ are the object and fill its box."""
    library = library_of("train")
    monkeypatch.setattr(module, "COVERED_SHARE", 0.0)
    # Contrast and saturation of the whole scene depend on its mean, which the object shifts; noise is drawn last.
    monkeypatch.setattr(module, "_finish", lambda image, unit, rng: np.asarray(image))
    for index in range(0, 24, 3):
        scene = render(library, 0, index, *canvas)
        with monkeypatch.context() as patch:
            patch.setattr(module, "_recolour", _invisible(module._recolour))
            without = render(library, 0, index, *canvas)
        rows, columns = np.nonzero((scene.pixels != without.pixels).any(axis=2))
        left, top, right, bottom = scene.box
        assert left <= columns.min() and columns.max() < right
        assert top <= rows.min() and rows.max() < bottom
        slack = 2 + 0.1 * max(right - left, bottom - top)  # soft edges and colours that equal the background's
        assert columns.max() - columns.min() + 1 >= right - left - slack
        assert rows.max() - rows.min() + 1 >= bottom - top - slack
        assert abs(max(right - left, bottom - top) * SCENE / min(canvas) - scene.object_px) < 1


def test_a_mirrored_clock_is_drawn_from_the_hour_it_is_labelled_with(
    library_of: LibraryOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock labelled 1 is drawn from the art of 1 as it is, or from the flipped art of 11."""
    library = library_of("train")
    code_of = {id(art): code for code, art in library.objects.items()}
    transform, seen = module._transform, set()

    def watched(art: Image.Image, size: float, turn: float, flip: bool) -> Image.Image:
        if code_of[id(art)] not in DISTRACTORS:
            seen.add((code_of[id(art)], flip))
        return transform(art, size, turn, flip)

    monkeypatch.setattr(module, "_transform", watched)
    code = {c.name: c.code for c in CLASSES}
    for number in range(12):
        render(library, 0, LABELS.index("clock-1") + 60 * number)
    assert seen == {(code["clock-1"], False), (code["clock-11"], True)}


def _invisible(recolour: Callable[..., Image.Image]) -> Callable[..., Image.Image]:
    """Make the class object transparent, not the distractors: only the former is recoloured with strength 0.25."""

    def replacement(sprite: Image.Image, rng: np.random.Generator, strength: float, blur: float) -> Image.Image:
        recoloured = recolour(sprite, rng, strength, blur)
        if strength == 0.25:
            recoloured.putalpha(0)
        return recoloured

    return replacement


@settings(max_examples=12, deadline=None)
@given(index=st.integers(0, 10**6), seed=st.integers(0, 10**6))
def test_every_scene_keeps_its_bounds(library_of: LibraryOf, index: int, seed: int) -> None:
    scene = render(library_of("test"), seed, index)
    left, top, right, bottom = scene.box
    assert scene.pixels.shape == (SCENE, SCENE, 3) and scene.pixels.dtype == np.uint8
    assert 0 <= left < right <= SCENE and 0 <= top < bottom <= SCENE
    assert OBJECT_PX[0] <= scene.object_px <= OBJECT_PX[1]
    assert scene.label == index % 60


def test_on_a_wide_canvas_the_object_lies_in_the_centre_square(library_of: LibraryOf) -> None:
    for index in range(12):
        left, _, right, _ = render(library_of("test"), 1, index, 640, 480).box
        assert left >= 80 and right <= 560
