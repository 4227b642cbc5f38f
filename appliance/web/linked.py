"""Which authorisations in SPV a person sees, what of them, and what they may do there.

Tenants do not meet here. An owner sees what they authorised and what serves (or is
offered for) their own clients, and of it their own clients' CIFs alone; an accountant
the same of the assigned clients, and of the other CIFs how many are read; an
administrator sees all. What is no client of the firm is shown to people of the firm and
to the one who authorised it. Who has just shown a certificate that was known here already
may have their own clients read with it too, and that is all: it stays another's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from appliance.core import cif as cifs
from appliance.core.errors import NotAllowed
from appliance.core.roles import FIRM_ROLES, LINKERS, Role, Viewer
from appliance.core.sentence import Sentence
from appliance.store import clients
from appliance.store.clients import ClientRow
from appliance.web.vault import Grant

_CIF = re.compile(r"[0-9]{2,13}", re.ASCII)


@dataclass(frozen=True)
class Reached:
    """A CIF and the client that it is of."""

    cif: str
    client: ClientRow

    @property
    def shown(self) -> str:
        return cifs.mask_cnp(self.cif)


@dataclass(frozen=True)
class Sight:
    """One grant as one person sees it."""

    grant: Grant
    mine: bool  # this person authorised it
    proved: bool  # or authorised it again in this session
    served: tuple[Reached, ...]  # of clients that the person may link
    offered: tuple[Reached, ...]  # the same; nobody has confirmed them
    strangers: tuple[str, ...]  # offered, of no client of the firm; a CNP is masked
    others: int  # CIFs of other clients, read with it; none for whom that is no business
    manages: bool  # may authorise it again and erase it


async def seen_by(viewer: Viewer, grants: Iterable[Grant], *, proved: str = "") -> list[Sight]:
    """Return the grants that exist for this person, in the order given.

    `proved` is the one whose certificate was at hand in this session a moment ago.
    """
    owners = await clients.all_identifiers()
    rows = {
        row.id: row for row in await clients.list_for(viewer) if viewer.roles_at(row.id) & LINKERS
    }
    sights = [_sight(viewer, grant, owners, rows, grant.uid == proved) for grant in grants]
    return [sight for sight in sights if _exists(viewer, sight)]


async def candidates(sight: Sight, viewer: Viewer) -> list[Reached]:
    """Return the CIFs that are not read with the grant and that this person may have read."""
    owners = await clients.all_identifiers()
    rows = {row.id: row for row in await clients.list_for(viewer)}
    return _by_name(
        Reached(cif, rows[client_id])
        for cif, client_id in owners.items()
        if client_id in rows
        and _CIF.fullmatch(cif)
        and cif not in sight.grant.cifs
        and may_confirm(viewer, sight, rows[client_id], cif)
    )


def may_confirm(viewer: Viewer, sight: Sight, client: ClientRow, cif: str) -> bool:
    """Tell whether the person may have this CIF of the client read with the grant.

    Who may link the client, and of those: who authorised the grant, who works for
    the firm there, and the client's owner when ANAF itself named the CIF.
    """
    roles = viewer.roles_at(client.id)
    if not roles & LINKERS:
        return False
    certificate = sight.mine or sight.proved
    return certificate or bool(roles & FIRM_ROLES) or cif in sight.grant.offered


def require_manager(sight: Sight) -> None:
    """Raise `NotAllowed` unless the person may authorise the grant again and erase it."""
    if not sight.manages:
        raise NotAllowed(
            Sentence(
                "Numai cine a autorizat această legătură sau administratorul firmei o poate "
                "reînnoi ori șterge. Pentru firma ta poți face oricând altă legătură.",
                "only whoever authorised this connection or the firm's administrator renews or "
                "erases it; for your own company you can always make another one",
            )
        )


def linkable(viewer: Viewer, rows: Sequence[ClientRow]) -> list[ClientRow]:
    """Return those of the clients that the person may link to SPV."""
    return [row for row in rows if viewer.roles_at(row.id) & LINKERS]


def _sight(
    viewer: Viewer,
    grant: Grant,
    owners: Mapping[str, int],
    rows: Mapping[int, ClientRow],
    proved: bool,
) -> Sight:
    mine, firm = grant.requested_by == viewer.user_uid, viewer.firm_role is not None

    def own(numbers: Iterable[str]) -> tuple[Reached, ...]:
        reached = (Reached(cif, rows[owners[cif]]) for cif in numbers if owners.get(cif) in rows)
        return tuple(_by_name(reached))

    served, offered = own(grant.cifs), own(grant.offered)
    strangers = tuple(cifs.mask_cnp(cif) for cif in grant.offered if cif not in owners)
    return Sight(
        grant,
        mine,
        proved,
        served,
        offered,
        strangers if firm or mine else (),
        len(grant.cifs) - len(served) if firm else 0,
        mine or viewer.firm_role is Role.ADMIN,
    )


def _by_name(reached: Iterable[Reached]) -> list[Reached]:
    return sorted(reached, key=lambda one: (one.client.name.casefold(), one.cif))


def _exists(viewer: Viewer, sight: Sight) -> bool:
    everything = viewer.firm_role is Role.ADMIN
    return everything or sight.mine or sight.proved or bool(sight.served or sight.offered)
