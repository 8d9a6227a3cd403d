"""A bundle that is open until somebody closes it: what the public classes have in common."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Generic, Protocol, TypeVar

from sacvit_deploy.bundle.bundle import Bundle
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.errors import UsageError


class Opened(Protocol):
    """What a bundle was opened as."""

    @property
    def bundle(self) -> Bundle: ...

    @property
    def precision(self) -> str: ...


T = TypeVar("T", bound=Opened)
H = TypeVar("H", bound="Handle[Opened]")


class Handle(Generic[T]):
    """A bundle opened from a folder, until `close` or the end of a `with` block. kind: what users call it."""

    kind: ClassVar[str]
    _folder: Path
    _opened: T | None

    @property
    def opened(self) -> T:
        """The bundle as it was opened last. Raises UsageError after `close`."""
        if (opened := self._opened) is None:
            name = type(self).__name__
            raise UsageError(
                f"this {self.kind} was closed; open {self._folder} anew, with {name}({str(self._folder)!r})"
            )
        return opened

    @opened.setter
    def opened(self, opened: T) -> None:
        self._opened = opened

    def close(self) -> None:
        """Let go of what was opened; using it afterwards is a UsageError."""
        self._opened = None

    def __enter__(self: H) -> H:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def bundle(self) -> Bundle:
        """The opened bundle: path, manifest, labels."""
        return self.opened.bundle

    @property
    def config(self) -> ModelConfig:
        """The model's configuration."""
        return self.opened.bundle.manifest.config

    @property
    def precision(self) -> str:
        """The variant's precision."""
        return self.opened.precision

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names."""
        return self.opened.bundle.labels
