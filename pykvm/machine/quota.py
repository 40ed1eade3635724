"""How many processors the control group of this process may use (``cgroups(7)``)."""

from __future__ import annotations

import os


def processors(proc: str = "/proc/self/cgroup", mount: str = "/sys/fs/cgroup") -> int:
    """Whole processors that the smallest quota on the way up leaves, at least 1; 0: no quota.

    Version 2 tells it in cpu.max, version 1 in the files of its CFS bandwidth control."""
    shares = [
        quota / period
        for folder, files in _folders(proc, mount)
        for quota, period in _quota(folder, files)
        if quota > 0 and period > 0
    ]
    return max(int(min(shares)), 1) if shares else 0


def _folders(proc: str, mount: str) -> list[tuple[str, tuple[str, ...]]]:
    """The group's folders from the innermost on, with the files that tell."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for line in _read(proc).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        roots = [os.path.join(mount, controllers), os.path.join(mount, "cpu")]
        files: tuple[str, ...] = ("cpu.max",)
        if controllers:
            files = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        for root in roots if controllers else [mount]:
            at = path.strip("/")
            while True:  # a container sees its own group as the root, or the host's path to it
                found.append((os.path.join(root, at), files))
                if not at:
                    break
                at = os.path.dirname(at)
    return found


def _quota(folder: str, files: tuple[str, ...]) -> list[tuple[int, int]]:
    words = " ".join(_read(os.path.join(folder, name)) for name in files).split()
    try:
        return [(int(words[0]), int(words[1]))]
    except (IndexError, ValueError):  # no such file, or "max"
        return []


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
