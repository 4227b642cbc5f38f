"""PyPI's `anaf-sync` and `anafpy`, pointed at a local SPV: a client that we did not write.

They need Python 3.12 or newer, so they live in a virtual environment of their own, made
once in the user's cache directory (`ARHIVAR_TEST_CACHE` names another) and never in the checkout.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ANAF_SYNC, ANAFPY = "0.8.1", "0.13.3"
RUNNER = Path(__file__).with_name("anaf_sync_runner.py")
_VERSIONS = ("3.12", "3.13", "3.14")


def anaf_sync_python() -> Path | str:
    """Return the interpreter that has both packages, or the reason why there is none.

    The first call makes the environment and needs the package index; later
    ones find it. Processes that ask at once wait for the one that makes it.
    """
    home = _cache() / f"anaf-sync-{ANAF_SYNC}-anafpy-{ANAFPY}"
    python = home / "bin" / "python"
    with _alone(home.with_suffix(".lock")):
        if (home / "complete").exists() and _version(python) is not None:
            return python
        base = _newer_python()
        if base is None:
            return "anaf-sync needs Python 3.12 or newer and none was found"
        shutil.rmtree(home, ignore_errors=True)
        for command in (
            [str(base), "-m", "venv", str(home)],
            [
                str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                "--retries", "1", "--timeout", "20",
                f"anaf-sync=={ANAF_SYNC}", f"anafpy=={ANAFPY}",
            ],
        ):  # fmt: skip
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=300)
            except (OSError, subprocess.TimeoutExpired) as error:
                return f"anaf-sync could not be installed: {error}"
            if done.returncode:
                said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
                return f"anaf-sync could not be installed: {said[-1]}"
        (home / "complete").touch()
    return python


def run(
    url: str,
    describe_json: Path | Mapping[str, Any],
    out_dir: Path,
    cifs: Sequence[str],
    artifacts: Iterable[str] = ("zip", "xml", "signature"),
    *,
    command: Sequence[str] = ("sync",),
    patient: bool = True,
    timeout: float = 1800,
) -> subprocess.CompletedProcess[str]:
    """Let `anaf-sync` fetch both directions of the CIFs into `out_dir/files`.

    `describe_json` is what the simulator writes with `--json`, or its content.
    Its state, tokens and configuration are kept in `out_dir` too, so a second
    call with the same directory goes on where the first one ended. What it would
    try again after seconds it tries again at once when it need not be `patient`.
    """
    about = _described(describe_json)
    out_dir.mkdir(parents=True, exist_ok=True)
    config = out_dir / "config.toml"
    config.write_text(
        f"cifs = {json.dumps(list(cifs))}\n"
        'direction = "both"\n'
        "[output]\n"
        f"directory = {json.dumps(str(out_dir / 'files'))}\n"
        'template = "{cif}/{message_id}"\n'
        f"artifacts = {json.dumps(list(artifacts))}\n",
        encoding="utf-8",
    )
    arguments = ["anaf-sync" if patient else "anaf-sync-at-once", *command]
    return run_script(url, about, out_dir, [*arguments, "--config", str(config)], timeout=timeout)


def run_script(
    url: str,
    describe_json: Path | Mapping[str, Any],
    out_dir: Path,
    arguments: Sequence[str],
    *,
    timeout: float = 300,
) -> subprocess.CompletedProcess[str]:
    """Run `anaf-sync …` or a script of ours (`FILE.py …`) where anafpy's addresses are `url`."""
    python = anaf_sync_python()
    if isinstance(python, str):
        raise RuntimeError(python)
    about = _described(describe_json)
    out_dir.mkdir(parents=True, exist_ok=True)
    tokens = out_dir / "tokens.json"
    if not tokens.exists():
        pair = {name: about[name] for name in ("access_token", "refresh_token")}
        tokens.write_text(json.dumps(pair), encoding="utf-8")
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "LC_ALL": "C.UTF-8",
        "HOME": str(out_dir),
        "XDG_CONFIG_HOME": str(out_dir / "config"),
        "XDG_STATE_HOME": str(out_dir / "state"),
        "ANAF_SYNC_LOG": "console",
        "ANAFPY_CLIENT_ID": str(about["client_id"]),
        "ANAFPY_CLIENT_SECRET": str(about["client_secret"]),
        "ANAFPY_TOKEN_STORE": str(tokens),
        "ANAFPY_TOKEN_STORE_BACKEND": "file",
    }
    return subprocess.run(
        # -P: our anaf_sync.py beside the runner must not hide the package
        [str(python), "-P", str(RUNNER), url, *arguments],
        cwd=out_dir, env=environment, capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip


def _described(describe_json: Path | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(describe_json, Mapping):
        return describe_json
    found: dict[str, Any] = json.loads(Path(describe_json).read_text(encoding="utf-8"))
    return found


def _cache() -> Path:
    named = os.environ.get("ARHIVAR_TEST_CACHE")
    user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(named) if named else Path(user) / "arhivar-tests"
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def _alone(path: Path) -> Any:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _newer_python() -> Path | None:
    """Return a Python of 3.12 or newer: on PATH, of uv, of pyenv."""
    named = [shutil.which(f"python{version}") for version in _VERSIONS]
    if shutil.which("uv"):
        for version in _VERSIONS:
            asked = ["uv", "python", "find", "--offline", version]
            found = subprocess.run(asked, capture_output=True, text=True, check=False)
            named.append(found.stdout.strip() if found.returncode == 0 else None)
    kept = sorted((Path.home() / ".pyenv" / "versions").glob("3.1[2-9]*/bin/python"))
    candidates = [Path(name) for name in named if name] + kept
    # a shim of pyenv exists also where the version behind it is not chosen: try each
    return next((path for path in candidates if _version(path)), None)


def _version(python: Path) -> tuple[int, int] | None:
    """Return the version, `None` when it does not start or is older than 3.12."""
    asked = [str(python), "-c", "import sys, venv; print(*sys.version_info[:2])"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=False)
        major, minor = map(int, done.stdout.split())
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return (major, minor) if (major, minor) >= (3, 12) else None
