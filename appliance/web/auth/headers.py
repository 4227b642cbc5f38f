"""The headers that every answer carries, whatever its status, in one list.

The outermost middleware writes them, so a 404 of the router, a refused Host
and a crash have them too. A handler may set a stricter policy for a file
(`FILE_POLICY`); it cannot leave one out.
"""

from __future__ import annotations

from appliance.web.asgi import App, Message, Receive, Scope, Send

REPORTS = "/csp-report"  # where browsers tell what the policy blocked

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "object-src 'none'",
        "manifest-src 'self'",
        "report-to csp",
    )
)

# What strangers wrote: even if a browser shows it, it is nobody's page.
FILE_POLICY = "sandbox; default-src 'none'; frame-ancestors 'none'"

HSTS = "max-age=31536000; includeSubDomains"

ALWAYS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "reporting-endpoints": f'csp="{REPORTS}"',
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}


class SecurityHeaders:
    """Adds what an answer lacks, and answers HEAD like GET without the body."""

    def __init__(self, app: App, *, secure: bool) -> None:
        self._app = app
        # RFC 6797 §7.2: the header is not sent by a host that is spoken to without TLS.
        always = ALWAYS | ({"strict-transport-security": HSTS} if secure else {})
        self._always = {name.encode(): value.encode() for name, value in always.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        head = scope["method"] == "HEAD"
        if head:
            scope["method"] = "GET"

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = list(message.get("headers", []))
                present = {name.lower() for name, _ in sent}
                sent += [pair for pair in self._always.items() if pair[0] not in present]
                message["headers"] = sent
            elif message["type"] == "http.response.body" and head:
                message["body"] = b""
            await send(message)

        await self._app(scope, receive, send_with_headers)
