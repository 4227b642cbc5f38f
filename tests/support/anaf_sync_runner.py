"""Runs `anaf-sync` or a script with anafpy's addresses turned to a local server.

    python -P anaf_sync_runner.py URL anaf-sync ARGUMENT…
    python -P anaf_sync_runner.py URL anaf-sync-at-once ARGUMENT…
    python -P anaf_sync_runner.py URL FILE.py ARGUMENT…

anafpy has no setting for its addresses: they are constants, read when a client
is made. It runs in the environment of `anaf_sync.py`, so it imports nothing of ours.
"""

import runpy
import sys


def point_at(url: str) -> None:
    import anafpy._transport
    import anafpy._transport.base
    import anafpy.auth.oauth
    import anafpy.efactura.client
    import anafpy.public.client

    for module in (anafpy._transport, anafpy._transport.base, anafpy.efactura.client):
        module.OAUTH_HOST = url
    for module in (anafpy._transport.base, anafpy.public.client):
        module.PUBLIC_HOST = url
    for name in ("authorize", "token", "revoke"):
        setattr(anafpy.auth.oauth, f"{name.upper()}_URL", f"{url}/anaf-oauth2/v1/{name}")


def try_again_at_once() -> None:
    """It waits 2, 4, 8 seconds and more between its tries; they stay, the waiting does not."""
    import anaf_sync.engine
    from tenacity import wait_none

    anaf_sync.engine.wait_exponential_jitter = lambda **_: wait_none()


def main() -> int:
    url, what, *arguments = sys.argv[1:]
    point_at(url)
    if what in ("anaf-sync", "anaf-sync-at-once"):
        from anaf_sync.cli import main as anaf_sync

        if what == "anaf-sync-at-once":
            try_again_at_once()
        return anaf_sync(arguments)
    sys.argv = [what, *arguments]
    runpy.run_path(what, run_name="__main__")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
