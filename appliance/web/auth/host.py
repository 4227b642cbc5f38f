"""The one name under which the portal answers, and the address of who asks.

A request for any other `Host` is refused before anything looks at it, so no
link, cookie or check of an origin is ever built from what a request says.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from appliance.config import Settings
from appliance.core.errors import ArhivarError
from appliance.core.sentence import Sentence
from appliance.web.asgi import Scope


class WrongHost(ArhivarError):
    """The request is for another host than the configured one (421)."""


class Place:
    """Where the portal lives, from the configuration alone."""

    def __init__(self, settings: Settings) -> None:
        parts = urlsplit(settings.web_url)
        self.secure = parts.scheme == "https"
        self.origin = f"{parts.scheme}://{parts.netloc}".lower()
        self._hosts = {parts.netloc.lower().encode()}
        if parts.port is None:
            default = 443 if self.secure else 80
            self._hosts.add(f"{parts.netloc.lower()}:{default}".encode())

    def check(self, scope: Scope) -> None:
        """Raise `WrongHost` unless the request names this host, exactly and once."""
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            raise WrongHost(
                Sentence(
                    f"Portalul se deschide la adresa {self.origin}.",
                    f"the portal is at {self.origin}",
                )
            )

    def address_of(self, scope: Scope) -> str:
        """Return who is asking, as the network that throttling counts: /32, or /64.

        Behind TLS the connection comes from nginx on this machine, which
        overwrites `X-Real-IP`; from anybody else the header is not believed.
        """
        peer = scope["client"][0] if scope.get("client") else ""
        if self.secure and _is_local(peer):
            told = [value for name, value in scope["headers"] if name == b"x-real-ip"]
            if len(told) == 1:
                peer = told[0].decode("latin-1")
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return "unknown"
        if isinstance(address, ipaddress.IPv6Address):
            if address.ipv4_mapped is not None:
                return str(address.ipv4_mapped)
            return str(ipaddress.ip_network((address, 64), strict=False))
        return str(address)


def coarse(address: str) -> str:
    """Return the network that a session keeps: /24 or /48."""
    try:
        network = ipaddress.ip_network(address)
    except ValueError:
        return address
    return str(network.supernet(new_prefix=24 if network.version == 4 else 48))


def _is_local(peer: str) -> bool:
    if not peer:  # a unix socket has no address
        return True
    try:
        return ipaddress.ip_address(peer).is_loopback
    except ValueError:
        return False
