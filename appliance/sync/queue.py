"""The queue between job rows and workers: Huey carries a job's number and nothing else.

Huey pickles unless told otherwise, and whoever can write its file would then
run code here. `JobNumbers` writes `{"job", "priority"}` as JSON and
refuses to read anything that is not exactly that, so the worst that a foreign
row in queue.db can do is to make us look at a job that exists anyway.

A task that is lost (Huey deletes it before it runs) is found again by the
lease on its row (store/jobs.py): the queue may be deleted at any time.
"""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

from huey import SqliteHuey
from huey.registry import Message
from huey.serializer import Serializer

TASK_NAME = "run_job"
# Huey names a task after the module whose function it wraps (sync/service.py).
_TASK = f"appliance.sync.service.{TASK_NAME}"
_LARGEST = 2**63 - 1


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


def discard(path: Path) -> None:
    """Remove the file of the queues, before anything is opened.

    What an earlier process left in it is leased in the job rows and fed again
    when the lease ends; a file that is damaged or foreign is gone with it.
    """
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


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
