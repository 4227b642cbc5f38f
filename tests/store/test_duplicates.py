"""The same invoice twice: who hears of it, and that it is found by an index."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from appliance.core.roles import Kind, Status
from appliance.store import documents, duplicates, engine
from tests.support.store import World

SAME = {"number": "F-1", "issue_date": date(2026, 11, 3), "signed_minor": 11900}


async def pair(world: World, first: Status, second: Status, **fields: Any) -> tuple[int, int]:
    made = [
        await world.document(first, **SAME),
        await world.document(second, **{**SAME, "source": "import", **fields}),
    ]
    return tuple([(await documents.by_uid(uid)).id for uid in made])  # type: ignore[return-value]


async def seen(world: World, name: str, of: int) -> list[str]:
    found = await duplicates.twins(await world.viewer(name), [of])
    return [twin.status.value for twin in found.get(of, duplicates.NONE).seen]


async def test_both_copies_know_of_each_other_and_none_is_merged(world: World) -> None:
    one, other = await pair(world, Status.PENDING, Status.APPROVED)

    found = await duplicates.twins(await world.viewer("ana"), [one, other])

    assert {of: [twin.source for twin in entry.seen] for of, entry in found.items()} == {
        one: ["import"],
        other: ["spv"],
    }


@pytest.mark.parametrize(
    "different",
    [
        {"number": "F-2"},
        {"issue_date": date(2026, 11, 4)},
        {"signed_minor": -11900},
        {"signed_minor": 11901},
        {"currency": "EUR"},
        {"supplier_cif": "14399840"},
        {"kind": Kind.ISSUED},
        {"number": None},
        {"supplier_cif": None},
    ],
)
async def test_whatever_differs_is_no_copy(world: World, different: dict[str, Any]) -> None:
    one, other = await pair(world, Status.PENDING, Status.PENDING, **different)

    assert await duplicates.twins(await world.viewer("ana"), [one, other]) == {}


async def test_another_clients_copy_is_nothing_to_anybody(world: World) -> None:
    one, other = await pair(world, Status.APPROVED, Status.APPROVED, client_id=world.beta)

    for name in ("ana", "gina"):
        assert await duplicates.twins(await world.viewer(name), [one, other]) == {}


@pytest.mark.parametrize("status", Status)
async def test_the_firm_hears_of_approved_and_archived_copies_alone(
    world: World, status: Status
) -> None:
    one, _ = await pair(world, Status.APPROVED, status)
    heard = status in (Status.APPROVED, Status.ARCHIVED)

    for name in ("elena", "gina"):
        found = await duplicates.twins(await world.viewer(name), [one])
        assert bool(found) == heard
    assert await seen(world, "ana", one) == [status.value]


async def test_a_member_who_may_not_see_the_copy_hears_that_there_is_one(world: World) -> None:
    corina = world.ids["corina"]
    one, other = await pair(world, Status.PENDING, Status.PENDING, uploader_id=corina)

    found = await duplicates.twins(await world.viewer("corina"), [other])

    assert found == {other: duplicates.Duplicates((), hidden=True)}
    assert one not in found


async def test_fifty_cards_are_one_query_on_the_index(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [(await documents.by_uid(await world.document())).id for _ in range(50)]
    asked: list[str] = []
    real = duplicates.fetch

    async def counting(statement: str, values: Any = ()) -> Any:
        asked.append(statement)
        return await real(statement, values)

    monkeypatch.setattr(duplicates, "fetch", counting)
    await duplicates.twins(await world.viewer("ana"), ids)

    assert len(asked) == 1
    plan = await engine.fetch(f"EXPLAIN QUERY PLAN {asked[0]}", ["[1, 2]"])
    details = " / ".join(row["detail"] for row in plan)
    assert "document_number (client=? AND kind=? AND number=? AND supplier_cif=?)" in details
    assert "SCAN document" not in details
