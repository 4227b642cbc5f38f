"""The pages, by subject. A handler loads with a permission check, acts, and redirects (303)."""

from __future__ import annotations

from litestar.handlers import BaseRouteHandler

from appliance.web.pages import (
    certificates,
    decisions,
    document,
    health,
    imports,
    lists,
    login,
    months,
    notice,
    public,
    spv,
)

HANDLERS: list[BaseRouteHandler] = [
    *public.HANDLERS,
    *login.HANDLERS,
    *lists.HANDLERS,
    *document.HANDLERS,
    *decisions.HANDLERS,
    *notice.HANDLERS,
    *imports.HANDLERS,
    *certificates.HANDLERS,
    *months.HANDLERS,
    *health.HANDLERS,
    *spv.HANDLERS,
]
