"""What every room that writes files has to ask of the disk."""

from __future__ import annotations

import os
from pathlib import Path


def fsync_directory(path: Path) -> None:
    """Return when the names in the directory have reached the disk.

    A file whose bytes are fsynced can still lose its name in a power cut: this
    comes after every create, link, rename and unlink that somebody relies on.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
