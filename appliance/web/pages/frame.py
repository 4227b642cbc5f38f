"""What stands around a page: whose client it is about, where one can go, what waits there."""

from __future__ import annotations

from dataclasses import dataclass, field

from appliance.core.lifecycle import import_choices
from appliance.core.roles import CLIENT_ROLES, FIRM_ROLES, Role, Status, Viewer
from appliance.store import clients, documents, months, notices
from appliance.store.clients import ClientRow
from appliance.web.render import translate

SECTION_ICONS = {
    "pending": "clock",
    "approved": "check-circle",
    "rejected": "x-circle",
    "archived": "archive-box",
    "notices": "bell",
    "months": "shield-check",
    "spv": "arrow-path",
    "import": "inbox",
}

# Whom a pending document waits for.
DECIDERS = frozenset({Role.OWNER, Role.APPROVER})
_LONG = frozenset({"nav.notices", "nav.approved.firm"})


@dataclass(frozen=True)
class Choice:
    """A client in the switcher; `due` documents wait for this person there."""

    uid: str
    name: str
    due: int


@dataclass(frozen=True)
class Item:
    """A place in the menu."""

    section: str
    label: str
    icon: str
    count: int = 0
    due: bool = False  # the count is work for this person
    short: str = ""  # for the bar of a phone, where the label is too long
    desk: bool = False  # not in that bar: a phone finds it beside the archive


@dataclass(frozen=True)
class Frame:
    """The menu of one page."""

    section: str
    firm: bool
    clients: list[Choice] = field(default_factory=list)
    current: ClientRow | None = None
    items: list[Item] = field(default_factory=list)
    firm_here: bool = False  # looks at this client with the accountant's eyes
    decides: bool = False  # approves and rejects here
    uploads: bool = False  # adds documents here and decides nothing
    counts: documents.ClientCounts | None = None

    def count(self, status: Status) -> int:
        """Return how many documents of the status the person can open here."""
        return self.counts.seen.get(status, 0) if self.counts else 0


async def frame_for(viewer: Viewer, section: str, current: ClientRow | None = None) -> Frame:
    """Return the menu for this person at this place."""
    rows = await clients.list_for(viewer)
    only = set(viewer.memberships) | ({current.id} if current else set())
    counted = await documents.counts(viewer, only=only)
    choices = [
        Choice(
            row.uid,
            row.name,
            counted[row.id].seen.get(Status.PENDING, 0)
            if viewer.roles_at(row.id) & DECIDERS
            else 0,
        )
        for row in rows
    ]
    firm = viewer.firm_role is not None
    if current is None:
        return Frame(section, firm, choices)
    seen = counted[current.id].seen
    roles = viewer.roles_at(current.id)
    client_side, firm_side = bool(roles & CLIENT_ROLES), bool(roles & FIRM_ROLES)
    decides = bool(roles & DECIDERS)

    def item(section: str, count: int, *, due: bool = False) -> Item:
        key = "nav.approved.firm" if section == "approved" and firm_here else f"nav.{section}"
        label = translate(viewer.language, key)
        short = translate(viewer.language, f"{key}.short") if key in _LONG else ""
        return Item(section, label, SECTION_ICONS[section], count, due, short)

    firm_here = firm_side and not client_side
    items = []
    if client_side:
        items.append(item("pending", seen.get(Status.PENDING, 0), due=decides))
    items.append(item("approved", seen.get(Status.APPROVED, 0), due=firm_here))
    if client_side:
        items.append(item("rejected", seen.get(Status.REJECTED, 0)))
    items.append(item("archived", seen.get(Status.ARCHIVED, 0)))
    open_notices = await notices.list_for(viewer, current.uid, alerts_only=True)
    items.append(item("notices", len(open_notices), due=True))
    if months.may_see(viewer, current.id):
        label = translate(viewer.language, "nav.months")
        items.append(Item("months", label, SECTION_ICONS["months"], desk=True))
    label = translate(viewer.language, "nav.spv")
    items.append(Item("spv", label, SECTION_ICONS["spv"], desk=True))
    if import_choices(viewer, current.id):
        label = translate(viewer.language, "nav.import")
        items.append(Item("import", label, SECTION_ICONS["import"], desk=True))
    return Frame(
        section,
        firm,
        choices,
        current,
        items,
        firm_here=firm_here,
        decides=decides,
        uploads=Role.CONTRIBUTOR in roles,
        counts=counted[current.id],
    )
