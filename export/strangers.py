"""Objects of classes that nobody loads, among a checkpoint's options: placeholders stand for them, so no code runs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from sacvit_deploy.console.text import listed

# Entries of checkpoints that hold options and no weights: Lightning's, those of scripts and of configuration libraries.
OPTIONS = {"hyper_parameters", "datamodule_hyper_parameters", "hparams_type", "callbacks", "loops"}
OPTIONS |= {"hparams", "args", "opt", "options", "cfg", "config"}
# Whose functions do things, so that a file that names one is refused; a class of somebody's own is only a name here.
KNOWN = {*sys.stdlib_module_names, "torch", "numpy"} - {"__main__"}
# Of these, classes that options hold: a loss, an optimiser with its arguments.
HELD = ("torch.nn.modules.", "torch.optim.", "functools.partial")


class Stranger:
    """Placeholder for an object: takes what the pickle gives it and keeps nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """Take any arguments."""

    def __new__(cls, *_: Any, **__: Any) -> Stranger:
        """Take any arguments."""
        return object.__new__(cls)

    def __setstate__(self, _: Any) -> None:
        """Take any state."""


def load_with_strangers(path: Path, harmless: Iterable[Any]) -> dict[Any, Any] | None:
    """Load a checkpoint with placeholders for the objects of unknown classes in its options.

    None where that is not enough: another format, functions of Python, torch or numpy, or such objects elsewhere, where
    they could be the network.
    """
    harmless = list(harmless)
    try:
        with path.open("rb") as file, torch.serialization.safe_globals(harmless):
            names = torch.serialization.get_unsafe_globals_in_checkpoint(file)
        if not names or any(name.partition(".")[0] in KNOWN and not name.startswith(HELD) for name in names):
            return None
        kinds = [(type(name.rpartition(".")[2], (Stranger,), {"__module__": name}), name) for name in sorted(names)]
        with path.open("rb") as file, torch.serialization.safe_globals([*harmless, *kinds]):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception:  # the caller, who has been refused already, says why
        return None
    if not isinstance(content, Mapping):
        return None
    elsewhere = _strangers({key: value for key, value in content.items() if not _option(key)})
    return dict(content) if next(elsewhere, None) is None else None


def strangers_note(content: Mapping[Any, Any]) -> list[str]:
    """Return a note that names the classes of placeholders, if any."""
    found = _strangers({key: value for key, value in content.items() if _option(key)})
    names = sorted({kind.__module__ for kind in found})
    return [f"left out what needs code to load among its options: {listed(names)}"] if names else []


def _option(key: Any) -> bool:
    return isinstance(key, str) and key in OPTIONS


def _strangers(content: Any) -> Iterator[type[Stranger]]:
    """Walk through containers, which may hold themselves, and yield the classes of placeholders."""
    rest, seen = [content], set()
    while rest:
        value = rest.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Stranger):
            yield type(value)
        elif isinstance(value, type) and issubclass(value, Stranger):
            yield value
        elif isinstance(value, Mapping):
            rest += [*value.keys(), *value.values()]
        elif isinstance(value, (list, tuple, set, frozenset)):
            rest += value
        elif hasattr(value, "__dict__") and not isinstance(value, (type, torch.Tensor)):
            rest.append(vars(value))
