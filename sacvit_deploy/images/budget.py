"""The memory that decoding may take: an account in bytes over all threads, and how much this machine has for it."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sacvit_deploy.errors import UsageError
from sacvit_deploy.forks import forget_in_children

MB = 1 << 20
EACH = 600 * MB  # for one image: 108 megapixels as Pillow keeps them (432 MB), and their file
IMAGES = 4  # as large as that, at a time
LEAST = 256 * MB  # ordinary photographs are answered however little memory the machine says it has
MAX_PIXELS = 110_000_000  # phones' 108-megapixel photographs are up to 12032x9024


class Reservation:
    """A share of a budget, while its `with` block lasts."""

    def __init__(self, budget: Budget, size: int) -> None:
        self._budget, self.size = budget, size

    def shrink(self, size: int) -> None:
        """Give back all but `size` bytes. It can't grow: two that hold a part and wait for more would wait for ever."""
        assert size <= self.size
        self._budget.give_back(self.size - size)
        self.size = size


class Budget:
    """`total` bytes that images being decoded may take together, and `each` that one of them may take.

    Safe to use from several threads. Images wait in the order in which they came, so a large one gets its turn.
    """

    def __init__(self, total: int, each: int) -> None:
        self.total, self.each = total, min(each, total)
        self.forget()
        forget_in_children(self)

    def forget(self) -> None:
        """Begin anew: a forked child has none of the threads that hold or wait for a share."""
        self._used = 0
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def reserve(self, size: int) -> Iterator[Reservation]:
        """Wait until `size` bytes, up to `each`, are free; they are taken until the block ends.

        A thread that holds one reservation must not ask for a second.
        """
        assert size <= self.each
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
            try:
                while self._queue[0] is not ticket or self._used + size > self.total:
                    self._changed.wait()
                self._used += size
            finally:
                self._queue.remove(ticket)
                self._changed.notify_all()
        held = Reservation(self, size)
        try:
            yield held
        finally:
            self.give_back(held.size)

    def give_back(self, size: int) -> None:
        """Return bytes, for reservations alone."""
        with self._changed:
            self._used = max(0, self._used - size)  # a child's first thread may hold what was forgotten
            self._changed.notify_all()


@dataclass(frozen=True)
class Limits:
    """What one image may have: pixels, checked against its header, and memory."""

    pixels: int
    memory: Budget


def limits(max_pixels: int | None = None, max_memory: int | None = None) -> Limits:
    """Return the limits for an option's values, None for the default. max_memory: MB, for all images together.

    The default memory is one account of the process; one that is asked for is of its own, and a single image may take
    all of it. Raises UsageError.
    """
    for name, value in (("max_pixels", max_pixels), ("max_memory", max_memory)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise UsageError(f"{name} is {value!r:.80}; it must be a whole number, at least 1")
    budget = default_budget() if max_memory is None else Budget(max_memory * MB, max_memory * MB)
    return Limits(max_pixels or MAX_PIXELS, budget)


@cache
def default_budget() -> Budget:
    """Return the process's own account: four large images, or half of what is free where that is less."""
    return Budget(default_total(free_memory()), EACH)


def default_total(free: int | None) -> int:
    """Return the bytes for all images together, where so many are free; None: that is not known."""
    return IMAGES * EACH if free is None else max(LEAST, min(IMAGES * EACH, free // 2))


def free_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes that this process may still take: of the machine, of its control groups, of `ulimit -v`.

    root: where proc and sys are. None where nothing is known, as on other systems than Linux.
    """
    found = [_of_machine(root), _of_address_space(root), *_of_groups(root)]
    known = [size for size in found if size is not None]
    return max(0, min(known)) if known else None


def _of_machine(root: Path) -> int | None:
    available = _fields(root / "proc/meminfo").get("MemAvailable:")
    return None if available is None else available * 1024


def _of_address_space(root: Path) -> int | None:
    try:
        import resource  # not on Windows

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit == resource.RLIM_INFINITY:
            return None
        pages = int((root / "proc/self/statm").read_text().split()[0])
        return limit - pages * resource.getpagesize()
    except (ImportError, OSError, ValueError, IndexError):
        return None


def _of_groups(root: Path) -> Iterator[int]:
    """Yield what is left in each control group that this process is in, of version 1 or 2.

    What the group's files keep in the page cache counts as free: the kernel gives it up for those who need memory.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            top, limit, usage, cached = root / "sys/fs/cgroup", "memory.max", "memory.current", ""
        elif "memory" in controllers.split(","):
            top, limit, usage = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            cached = "total_"
        else:
            continue
        names = [name for name in path.split("/") if name not in ("", "..")]  # of one outside of what is seen here
        group = top.joinpath(*names)
        while group.is_relative_to(top):  # a limit of any group above holds, too; in a container this is the top
            allowed, used = _number(group / limit), _number(group / usage)
            if allowed is not None and used is not None:
                stat = _fields(group / "memory.stat")
                yield allowed - used + sum(stat.get(f"{cached}{kind}_file", 0) for kind in ("active", "inactive"))
            group = group.parent


def _number(path: Path) -> int | None:
    """Read a file that holds a whole number; None without it, or for `max`."""
    try:
        text = path.read_text().strip()
    except (OSError, ValueError):
        return None
    return int(text) if text.isdecimal() else None


def _fields(path: Path) -> dict[str, int]:
    """Read lines of a name and a number; a file that isn't there has none."""
    try:
        words = [line.split() for line in path.read_text().splitlines()]
        return {line[0]: int(line[1]) for line in words if len(line) > 1 and line[1].isdecimal()}
    except OSError:
        return {}
