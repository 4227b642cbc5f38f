"""What a process costs, as the kernel counts it (proc(5))."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Memory:
    """In MB: resident, the same with its part of what is shared, and the most ever resident."""

    rss: float
    pss: float
    peak: float


def cpu(pid: int, *, ended_children: bool = False) -> float:
    """Return the CPU seconds of a process so far, or those of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    first = 13 if ended_children else 11
    return (int(fields[first]) + int(fields[first + 1])) / _TICKS


def cpu_of_children(pid: int) -> float:
    """Return the CPU seconds of all its children, of those that have ended too."""
    living = 0.0
    for child in children(pid):
        try:
            living += cpu(child)
        except OSError:
            continue  # it ended meanwhile
    return living + cpu(pid, ended_children=True)


def memory(pid: int) -> Memory:
    smaps, status = _kilobytes(pid, "smaps_rollup"), _kilobytes(pid, "status")
    return Memory(smaps["Rss"] / 1024, smaps["Pss"] / 1024, status["VmHWM"] / 1024)


def _kilobytes(pid: int, name: str) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/{name}").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}


def children(pid: int) -> list[int]:
    """Return the ids of the processes that it has started and that live."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += map(int, (thread / "children").read_text().split())
        except OSError:
            continue  # a thread that ended meanwhile
    return found


def command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
