"""Closing a model: what was opened is let go, what is under way ends, and nothing begins afterwards."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sacvit_deploy import Prediction, SACViT, UsageError

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "examples/int8/model.sacvit"
PICTURES = sorted((ROOT / "examples/pictures").iterdir())[:4]


@pytest.fixture
def without_collector() -> Iterator[None]:
    """No garbage collector: what is let go goes at once."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def engines(model: SACViT) -> list[weakref.ref[Any]]:
    """References to what a bundle was opened into, engines of both stages included."""
    model.predict(PICTURES[0], eta=1.0)
    cascade = model.cascade
    return [weakref.ref(thing) for thing in (model.opened, cascade, model.bundle)]


@pytest.mark.usefixtures("without_collector")
def test_what_was_opened_is_let_go() -> None:
    with SACViT(BUNDLE, threads=1) as model:
        assert isinstance(model.predict(PICTURES[0]), Prediction)
        held = engines(model)
        assert all(reference() is not None for reference in held)
    assert [reference() for reference in held] == [None] * len(held)
    model.close()  # again, which does nothing


def test_it_is_closed_after_an_error_too() -> None:
    with pytest.raises(KeyError), SACViT(BUNDLE, threads=1) as model:
        raise KeyError("of the user's")
    with pytest.raises(UsageError, match="was closed"):
        model.predict(PICTURES[0])


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model.predict(PICTURES[0]),
        lambda model: model(PICTURES[0]),
        lambda model: model.predict_batch(PICTURES),
        lambda model: model.stream(PICTURES),
        lambda model: model.prepare(PICTURES[0]),
        lambda model: model.reload(),
        lambda model: model.labels,
        lambda model: model.eta,
    ],
)
def test_using_it_afterwards_is_an_error(use: Callable[[SACViT], Any]) -> None:
    model = SACViT(BUNDLE, threads=1)
    model.close()
    with pytest.raises(UsageError, match=r"was closed; open .*model\.sacvit anew"):
        use(model)


@pytest.mark.usefixtures("without_collector")
def test_a_stream_under_way_ends_with_what_it_began_with() -> None:
    model = SACViT(BUNDLE, threads=1)
    expected = [model.predict(path, eta=1.0).label for path in PICTURES]
    held = engines(model)
    stream = model.stream(PICTURES, batch_size=1, eta=1.0)
    first = next(stream)
    model.close()
    found = [first, *stream]
    assert [result.label for result in found if isinstance(result, Prediction)] == expected
    del stream
    assert held[0]() is None


def test_a_model_is_called_as_predict() -> None:
    with SACViT(BUNDLE, threads=1) as model:
        one, other = model(PICTURES[0], eta=1.0), model.predict(PICTURES[0], eta=1.0)
        assert (one.label, one.stage, one.source) == (other.label, other.stage, other.source)


def test_an_answer_shows_itself() -> None:
    with SACViT(BUNDLE, threads=1) as model:
        answer = model.predict(PICTURES[0], eta=1.0)
    expected = f"Prediction(source={str(PICTURES[0])!r}, label={answer.label!r}, probability={answer.probability:.3f}, "
    assert repr(answer) == str(answer) == f"{expected}stage=2)"
