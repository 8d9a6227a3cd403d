"""Scenes: the same from the same numbers, and their truth is true."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sacvit_deploy.training import scenes
from sacvit_deploy.training.backgrounds import Split
from sacvit_deploy.training.classes import CLASSES, DISTRACTORS, LABELS, MIRROR
from sacvit_deploy.training.scenes import OBJECT_PX, SCENE, Library, render

LibraryOf = Callable[[Split], Library]


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
    """Render with a visible object and with a transparent one: what differs is the object, and it fills its box."""
    library = library_of("train")
    monkeypatch.setattr(scenes, "COVERED_SHARE", 0.0)
    # Contrast and saturation of the whole scene are taken from its mean, which the object moves; noise is drawn last.
    monkeypatch.setattr(scenes, "_finished", lambda image, unit, rng: np.asarray(image))
    for index in range(0, 24, 3):
        scene = render(library, 0, index, *canvas)
        with monkeypatch.context() as patch:
            patch.setattr(scenes, "_dressed", _invisible_if(CLASSES[scene.label].code, library, scenes._dressed))
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
    """Flipped art must be the mirrored class's: a clock labelled 1 is 1's art as it is, or 11's art flipped."""
    library = library_of("train")
    code_of = {id(art): code for code, art in library.objects.items()}
    cut, seen = scenes._cut, set()

    def watched(art: Image.Image, size: float, turn: float, flip: bool) -> Image.Image:
        if code_of[id(art)] not in DISTRACTORS:
            seen.add((code_of[id(art)], flip))
        return cut(art, size, turn, flip)

    monkeypatch.setattr(scenes, "_cut", watched)
    code = {c.name: c.code for c in CLASSES}
    for number in range(12):
        render(library, 0, LABELS.index("clock-1") + 60 * number)
    assert seen == {(code["clock-1"], False), (code["clock-11"], True)}


def _invisible_if(code: str, library: Library, dress: Callable[..., object]) -> Callable[..., object]:
    """Make the class object transparent and leave the distractors: only the class object is lit with strength 0.25."""

    def dressed(thing: object, rng: np.random.Generator, strength: float, blur: float) -> object:
        done = dress(thing, rng, strength, blur)
        if strength == 0.25:
            done.putalpha(0)  # type: ignore[attr-defined]
        return done

    return dressed


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
