"""`arhivar certificate`: what is trusted here, and one certificate more."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.console import Console

from appliance.config import Settings
from appliance.core.certificates import PinnedCertificate
from appliance.store import certificates
from appliance.store.certificates import Use
from appliance.store.engine import open_store
from appliance.store.files import Archive
from appliance.store.pinned import pinned_certificates


async def add(settings: Settings, data: bytes) -> None:
    """Trust a certificate and print what it is; sync judges again what it signed."""
    async with open_store(settings):
        certificate, new = await certificates.add(data, datetime.now(UTC))
        use = (await certificates.uses()).get(certificate.fingerprint)
    console = Console(soft_wrap=True, highlight=False)
    console.print("trusted from now on" if new else "it was added before", style="bold")
    _print(console, certificate)
    if use is not None and use.unknown:
        console.print(f"documents that are judged again: {use.unknown}")


async def print_list(settings: Settings) -> None:
    """Print the trusted certificates, then those that were seen and are not trusted."""
    configured = pinned_certificates(settings.spv_extra_certificates)
    console = Console(soft_wrap=True, highlight=False)
    async with open_store(settings):
        for one in await certificates.listed(configured):
            origin = one.origin if one.added is None else f"added by {one.added.by or 'command'}"
            console.print(f"trusted ({origin}):", style="bold")
            _print(console, one.certificate)
            console.print(_what_it_signed(one.use) + "\n")
        archive = Archive(settings.archive_dir)
        for use in await certificates.strange(configured):
            console.print("not trusted:", style="bold")
            found = await certificates.of_documents(use.fingerprint, archive)
            if found is None:
                console.print(f"fingerprint {use.fingerprint}")
            else:
                _print(console, found[0])
            console.print(_what_it_signed(use) + "\n")


def _print(console: Console, certificate: PinnedCertificate) -> None:
    console.print(f"subject     {certificate.subject}")
    console.print(f"fingerprint {certificate.fingerprint}")
    console.print(f"valid       {certificate.not_before} – {certificate.not_after}")


def _what_it_signed(use: Use | None) -> str:
    if use is None:
        return "signed      no document here"
    return (
        f"signed      {use.number} document{'s' * (use.number != 1)}, "
        f"the first received {use.first_at:%Y-%m-%d}, the last {use.last_at:%Y-%m-%d}"
    )
