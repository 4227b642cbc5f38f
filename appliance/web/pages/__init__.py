"""The pages, by subject. A handler loads with a permission check, acts, and redirects (303)."""

from __future__ import annotations

from litestar.handlers import BaseRouteHandler

from appliance.web.pages import (
    application,
    certificates,
    decisions,
    document,
    grants,
    health,
    imports,
    linking,
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
    *linking.HANDLERS,
    *grants.HANDLERS,
    *application.HANDLERS,
]
