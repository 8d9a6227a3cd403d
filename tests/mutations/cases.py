"""A damaged input that is ready to be opened, and what makes such inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random


class AcceptedError(Exception):
    """Bytes that were changed and not sealed again were taken all the same."""


@dataclass(frozen=True)
class Case:
    """A damaged input that is ready to be opened. must_fail: nothing but a refusal will do."""

    open: Callable[[], object]
    must_fail: bool = False


Subject = Callable[[Random], Case]
