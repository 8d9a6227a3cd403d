"""The CPU time that a container may take: the quota of its control groups, versions 1 and 2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

MEMBERSHIP = Path("/proc/self/cgroup")
HIERARCHY = Path("/sys/fs/cgroup")


def cpu_quota(membership: Path = MEMBERSHIP, hierarchy: Path = HIERARCHY) -> float | None:
    """Return how many CPUs' time this process may take, such as 1.5; None without a quota or control groups.

    Groups lie in each other, and the tightest quota counts. membership lists the groups of this process. hierarchy is
    where they are mounted; in a container that may be the container's own group, so its root counts, too.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None
    quotas = []
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if number == "0" and not controllers:  # version 2, alone or beside version 1
            for mount in (hierarchy, hierarchy / "unified"):
                quotas += [_version2(folder) for folder in _upwards(mount, group)]
        elif "cpu" in controllers.split(","):
            for mount in (hierarchy / controllers, hierarchy / "cpu"):
                quotas += [_version1(folder) for folder in _upwards(mount, group)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _upwards(mount: Path, group: str) -> Iterator[Path]:
    """Yield the folders of a group and of those around it, up to the mount."""
    names = [name for name in PurePosixPath(group).parts if name not in ("/", "..")]
    for count in range(len(names), -1, -1):
        yield mount.joinpath(*names[:count])


def _version2(folder: Path) -> float | None:
    """Read `cpu.max`: microseconds, or `max`, and the period."""
    words = _words(folder / "cpu.max")
    return _share(*words) if len(words) == 2 else None


def _version1(folder: Path) -> float | None:
    """Read `cpu.cfs_quota_us`, -1 for none, and `cpu.cfs_period_us`."""
    words = _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
    return _share(*words) if len(words) == 2 else None


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []


def _share(quota: str, period: str) -> float | None:
    """Return quota / period; None for what is no positive number."""
    if not (quota.isdecimal() and period.isdecimal()) or int(quota) == 0 or int(period) == 0:
        return None
    return int(quota) / int(period)
