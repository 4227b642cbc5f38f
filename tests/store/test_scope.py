"""What SQL gives a person is exactly what `Viewer.may_see` says, for everybody and everything."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from appliance.core.roles import (
    CLIENT_ROLES,
    DocumentFacts,
    Kind,
    Membership,
    Role,
    Scope,
    Status,
    Viewer,
)
from appliance.store import documents, drive, engine
from appliance.store.documents import scoped
from appliance.store.scope import scoped_at
from tests.support.store import World

PARTNERS = ("22000460", "1", None)

SCOPES = (
    Scope(),
    Scope(kinds=frozenset({Kind.ISSUED})),
    Scope(kinds=frozenset({Kind.RECEIVED, Kind.OTHER})),
    Scope(kinds=frozenset()),
    Scope(suppliers=frozenset({"1"})),
    Scope(suppliers=frozenset({"1", "22000460"})),
    Scope(suppliers=frozenset()),
    Scope(kinds=frozenset({Kind.RECEIVED}), suppliers=frozenset({"22000460"})),
    Scope(approval_limit_minor=1),
)


def viewers(world: World, user_id: int) -> Iterator[Viewer]:
    """Every role of the firm, with and without the client, times every role and scope there."""
    firm: list[tuple[Role | None, frozenset[int]]] = [
        (None, frozenset()),
        (None, frozenset({world.alfa})),  # an assignment that outlived the role
        (Role.ADMIN, frozenset()),
        (Role.ADMIN, frozenset({world.alfa})),
        (Role.ACCOUNTANT, frozenset()),
        (Role.ACCOUNTANT, frozenset({world.alfa})),
        (Role.ACCOUNTANT, frozenset({world.beta})),
        (Role.ACCOUNTANT, frozenset({world.alfa, world.beta})),
    ]
    members: list[dict[int, Membership]] = [{}]
    for role, scope in itertools.product(sorted(CLIENT_ROLES), SCOPES):
        members.append({world.alfa: Membership(world.alfa, role, scope)})
        members.append(
            {
                world.alfa: Membership(world.alfa, role, scope),
                world.beta: Membership(world.beta, Role.CONTRIBUTOR),
            }
        )
    for (firm_role, assigned), memberships in itertools.product(firm, members):
        yield Viewer(
            user_id=user_id,
            user_uid="u",
            name="n",
            email="e",
            firm_role=firm_role,
            assigned_clients=assigned,
            memberships=memberships,
        )


@pytest.fixture
async def everything(world: World) -> dict[str, DocumentFacts]:
    """A document of each status, kind, partner, uploader and client, with its facts."""
    facts = {}
    for client, status, kind, partner, uploader in itertools.product(
        (world.alfa, world.beta),
        Status,
        Kind,
        PARTNERS,
        (None, world.ids["corina"], world.ids["ana"]),
    ):
        uid = await world.document(
            client_id=client, kind=kind, partner_cif=partner, uploader_id=uploader
        )
        facts[uid] = DocumentFacts(client, status, kind, partner, uploader, 11900, taken=False)
    async with engine.transaction():
        await engine.execute_many(
            "UPDATE document SET status = ?, period = ? WHERE uid = ?",
            [
                (
                    fact.status.value,
                    "2026-11" if fact.status is Status.ARCHIVED else None,
                    uid,
                )
                for uid, fact in facts.items()
            ],
        )
    return facts


async def test_sql_and_the_rule_agree_for_every_person_and_every_document(
    world: World, everything: dict[str, DocumentFacts]
) -> None:
    checked = 0
    for viewer in viewers(world, world.ids["corina"]):
        expected = {uid for uid, facts in everything.items() if viewer.may_see(facts)}
        for condition in (
            scoped(viewer),
            *(
                (f"client = {client} AND ({part.sql})", part.values)
                for client in (world.alfa, world.beta)
                for part in [scoped_at(viewer, client)]
            ),
        ):
            statement, values = condition
            rows = engine.fetch_now(f"SELECT uid, client FROM document WHERE {statement}", values)
            wanted = expected
            if statement.startswith("client = "):
                client = int(statement.split()[2])
                wanted = {uid for uid in expected if everything[uid].client_id == client}
            assert {row["uid"] for row in rows} == wanted, (viewer, statement)
            checked += len(everything)
    assert checked > 100_000


async def test_lists_counts_and_the_drive_give_nothing_else(
    world: World, everything: dict[str, DocumentFacts]
) -> None:
    rows = await engine.fetch("SELECT uid, client, folder_name FROM document")
    names = {row["uid"]: (row["client"], row["folder_name"]) for row in rows}
    some = list(viewers(world, world.ids["corina"]))[::7]
    for viewer in some:
        expected = {uid for uid, facts in everything.items() if viewer.may_see(facts)}
        listed: set[str] = set()
        after = None
        while True:
            page = await documents.page(viewer, limit=200, after=after)
            listed |= {row.uid for row in page.rows}
            after = page.next
            if after is None:
                break
        assert listed == expected, viewer

        counted = await documents.counts(viewer)
        assert sum(sum(each.seen.values()) for each in counted.values()) == len(expected), viewer

        shown = {
            (client, drive.entry_of(line).folder_name)
            for client in (world.alfa, world.beta)
            for status, kind in itertools.product(Status, Kind)
            for line in drive.documents_in(drive.sight_of(viewer, client, status, kind))
        }
        assert shown == {names[uid] for uid in expected}, viewer


async def test_a_waiting_document_is_only_a_number_to_the_firm(
    world: World, everything: dict[str, DocumentFacts]
) -> None:
    elena = await world.viewer("elena")
    hidden = sum(
        facts.client_id == world.alfa and facts.status is Status.PENDING
        for facts in everything.values()
    )

    counted = await documents.counts(elena)

    assert counted[world.alfa].waiting[Status.PENDING].count == hidden > 0
    assert Status.PENDING not in counted[world.alfa].seen
