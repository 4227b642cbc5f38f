"""Keeps a few child processes running on one machine, as systemd does in production.

Used by `arhivar demo` and `arhivar serve`. A child that dies is started again
after a second; SIGINT or SIGTERM ends all of them, in reverse order, and waits
for each. When the supervisor itself is killed they end by themselves.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Self

STOP_SECONDS = 20  # sync finishes the message it is filing
_SUPERVISOR = "ARHIVAR_SUPERVISOR"  # in a child's environment: the process id of its parent
_PR_SET_PDEATHSIG = 1  # prctl(2)


def end_with_supervisor() -> None:
    """Make this process get SIGTERM when its supervisor ends, however that ends.

    Does nothing in a process that no supervisor started. To be called after
    the user was changed, which makes the kernel forget the wish.
    """
    supervisor = os.environ.pop(_SUPERVISOR, None)
    if supervisor is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # It may have ended before we asked; then we have another parent by now.
    if os.getppid() != int(supervisor):
        sys.exit("the supervisor has ended")


class Supervisor:
    """Children by name, in the order in which they were started."""

    def __init__(self, environment: Mapping[str, str], log_dir: Path | None) -> None:
        """With a `log_dir` each child writes to `<name>.log` there, else to our own output."""
        self._environment = {**os.environ, **environment, _SUPERVISOR: str(os.getpid())}
        self._log_dir = log_dir
        self._commands: dict[str, Sequence[str]] = {}
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        # The handlers stand before the first child, so that no moment leaves orphans.
        signal.signal(signal.SIGINT, self._on_signal)
        signal.signal(signal.SIGTERM, self._on_signal)
        if self._log_dir is not None:
            self._log_dir.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop_all()

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    def start(self, name: str, arguments: Sequence[str]) -> None:
        """Start `arhivar <arguments>` under this name and keep it running.

        For the main thread: a child counts as orphaned when the thread that started it ends.
        """
        self._commands[name] = arguments
        self._spawn(name)

    def _spawn(self, name: str) -> None:
        output: IO[bytes] | None = None
        if self._log_dir is not None:
            output = (self._log_dir / f"{name}.log").open("ab")
        try:
            # A session of its own: Ctrl-C in the terminal reaches us, and we end the children.
            self._children[name] = subprocess.Popen(  # noqa: S603  our own command
                [sys.executable, "-m", "appliance", *self._commands[name]],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        finally:
            if output is not None:
                output.close()

    def pid(self, name: str) -> int:
        return self._children[name].pid

    def died(self, name: str) -> bool:
        """Tell whether the child is gone at this moment (it may be about to start again)."""
        return self._children[name].poll() is not None

    def watch(self) -> None:
        """Return when asked to stop; until then start again whatever died."""
        while not self._stop.wait(0.5):
            for name, child in list(self._children.items()):
                if child.poll() is not None and not self._stop.wait(1):
                    print(f"{name} ended with {child.returncode}; starting it again", flush=True)
                    self._spawn(name)

    def wait(self, seconds: float) -> bool:
        """Sleep, or return True at once when asked to stop."""
        return self._stop.wait(seconds)

    def stop_all(self) -> None:
        """End every child, the last started first; one that does not obey is killed."""
        self._stop.set()
        for child in reversed(list(self._children.values())):
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(signal.SIGTERM)
            try:
                child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._children.clear()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop.set()
