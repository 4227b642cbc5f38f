"""The queue between job rows and workers: Huey carries a job's number and nothing else.

Huey pickles unless told otherwise, and whoever can write its file would then
run code here. `JobNumbers` writes `{"job", "priority"}` as JSON and
refuses to read anything that is not exactly that, so the worst that a foreign
row in queue.db can do is to make us look at a job that exists anyway.

A task that is lost (Huey deletes it before it runs) is found again by the
lease on its row (store/jobs.py): the queue may be deleted at any time. Each
process of sync has a file of its own.
"""

from __future__ import annotations

import fcntl
import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huey import SqliteHuey
from huey.registry import Message
from huey.serializer import Serializer

TASK_NAME = "run_job"
# Huey names a task after the module whose function it wraps (sync/service.py).
_TASK = f"appliance.sync.service.{TASK_NAME}"
_LARGEST = 2**63 - 1
_MOST = 100  # processes


class JobNumbers(Serializer):  # type: ignore[misc]  # Huey has no types
    """Huey messages as JSON objects of two known keys."""

    def _serialize(self, message: Any) -> bytes:
        (job_id,) = message.args
        return json.dumps({"job": int(job_id), "priority": int(message.priority or 0)}).encode()

    def _deserialize(self, data: bytes) -> Any:
        """Return the message; `ValueError` for anything that `_serialize` does not write."""
        value = json.loads(bytes(data[:200]))
        if not isinstance(value, dict) or value.keys() != {"job", "priority"}:
            raise ValueError("not a job number")
        job, priority = value["job"], value["priority"]
        # Not isinstance(): True is an int too.
        if type(job) is not int or type(priority) is not int or not 0 < job <= _LARGEST:
            raise ValueError("not a job number")
        return Message(
            id=str(uuid.uuid4()),
            name=_TASK,
            retries=0,
            retry_delay=0,
            priority=priority,
            args=(job,),
            kwargs={},
        )


@dataclass(frozen=True)
class Place:
    """A number that this process has alone among those of its kind, while it lives.

    `file` is its queue. `left` are the numbers of processes that are dead.
    """

    number: int
    file: Path
    left: tuple[int, ...]
    lock: int  # the open file that says so; the kernel lets go of it when the process ends


def take_place(path: Path) -> Place:
    """Return the lowest number that is free, with an empty queue: queue.db, queue-2.db, …

    What a dead process left in its queue is leased in the job rows and fed
    again when the lease ends, so its file is removed; a file that is damaged or
    foreign is gone with it. The files of the living are not touched.
    """
    number = 1
    while (lock := _lock(_file(path, number))) is None:
        number += 1
    file = _file(path, number)
    _remove(file)
    left = []
    for other in range(number + 1, _MOST):
        if not _lock_of(_file(path, other)).exists():
            break
        held = _lock(_file(path, other))
        if held is not None:
            _remove(_file(path, other))
            left.append(other)
            os.close(held)
    return Place(number, file, tuple(left), lock)


def _file(path: Path, number: int) -> Path:
    return path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")


def _lock_of(file: Path) -> Path:
    return file.with_name(f".{file.name}.lock")


def _lock(file: Path) -> int | None:
    """Return the open lock of the file, None when somebody holds it. The lock's file stays."""
    descriptor = os.open(_lock_of(file), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _remove(file: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)


def open_queue(path: Path, name: str) -> SqliteHuey:
    """Return the queue `name` in the file, made with mode 0600 when it is not there.

    No results are kept: Huey would store exception texts with them.
    """
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    return SqliteHuey(
        name,
        filename=str(path),
        results=False,
        store_none=False,
        utc=True,
        serializer=JobNumbers(),
        # A lost queue is refilled from the job rows, so it need not be durable.
        fsync=False,
        # Of each thread's connection; a queue holds a few dozen numbers.
        cache_mb=1,
    )
