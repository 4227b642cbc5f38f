"""What people are told of an authorisation that fails, once each, and what goes on again."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from appliance.core.times import to_text
from appliance.store import accounts, alerts, clients, engine, grants, health, jobs, mails
from appliance.store.mails import Mail, MailState
from appliance.sync import standing
from appliance.sync.spv import SpvClient
from appliance.sync.standing import Standing
from tests.support.desk import Desk
from tests.support.spv import ALFA, BETA, refusal

AT = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
G, H = "a" * 32, "b" * 32


async def uid(desk: Desk, name: str) -> str:
    return (await desk.world.viewer(name)).user_uid


async def give(
    desk: Desk,
    grant: str = G,
    *,
    by: str = "ana",
    cifs: tuple[str, ...] = (ALFA,),
    days: int = 300,
    **fields: Any,
) -> dict[str, Any]:
    """Let the vault hold a grant whose last day is so many days away."""
    made = {
        "grant": grant,
        "holder": "Ana Pop",
        "state": "active",
        "requested_by": await uid(desk, by),
        "created_at": to_text(AT - timedelta(days=90)),
        "issued_at": to_text(AT - timedelta(days=90)),
        "access_expires_at": to_text(AT + timedelta(days=min(days, 20))),
        "refresh_expires_at": to_text(AT + timedelta(days=days)),
        "cifs": list(cifs),
        **fields,
    }
    desk.vault.grants = [each for each in desk.vault.grants if each["grant"] != grant] + [made]
    return made


async def look(desk: Desk, at: datetime = AT) -> bool:
    return await standing.take_in(await desk.context.spv.standing(), "https://a.example", at)


async def written() -> list[Mail]:
    rows = await engine.fetch("SELECT uid FROM mail ORDER BY id")
    found = [await mails.get(row["uid"]) for row in rows]
    return [mail for mail in found if mail is not None]


async def told() -> list[tuple[str, str]]:
    """Return to whom mails were written, and about which stage."""
    return [(mail.recipient, mail.cause.split(":")[2]) for mail in await written()]


async def address(desk: Desk, name: str) -> str:
    return (await desk.world.viewer(name)).email


async def test_of_a_sound_authorisation_nobody_hears(desk: Desk) -> None:
    await give(desk)

    assert await look(desk) is False

    assert await written() == []
    (known,) = await grants.known()
    assert (known.uid, known.holder, known.cifs) == (G, "Ana Pop", (ALFA,))
    assert known.seen_at == AT


async def test_each_warning_comes_once_as_the_last_day_comes_near(desk: Desk) -> None:
    await give(desk, days=31)
    ana = await address(desk, "ana")

    for day in range(40):
        for hour in (0, 1, 12):
            await look(desk, AT + timedelta(days=day, hours=hour))

    assert await told() == [(ana, "30"), (ana, "14"), (ana, "3"), (ana, "0")]
    assert await jobs.waiting("mail") == 4
    # None of them was sent, and of those that wait only the last one is still true.
    assert [mail.state for mail in await written()] == [MailState.WITHDRAWN] * 3 + [
        MailState.QUEUED
    ]


@pytest.mark.parametrize(("days", "stages"), [(30, ["30"]), (10, ["14"]), (2, ["3"])])
async def test_what_is_first_seen_late_is_told_by_the_nearest_warning_alone(
    desk: Desk, days: int, stages: list[str]
) -> None:
    await give(desk, days=days)

    await look(desk)
    await look(desk)

    assert [stage for _, stage in await told()] == stages


async def test_the_warning_names_the_day_the_clients_and_the_page(desk: Desk) -> None:
    await give(desk, days=14, cifs=(ALFA, BETA))

    await look(desk)

    (mail,) = await written()
    assert mail.subject == "Autorizarea SPV pe numele Ana Pop expiră pe 08.12.2026"
    assert "Alfa Construct SRL" in mail.text
    assert "Beta" not in mail.text  # Ana has nothing to do with it
    assert f"https://a.example/spv/grants/{G}" in mail.text.splitlines()
    assert "08.12.2026" in mail.text
    assert "Contabilitate Tismana SRL" in mail.text


async def test_a_refused_renewal_is_told_once_and_until_when_spv_is_read(desk: Desk) -> None:
    await give(desk, state="needs_authorisation")

    for minutes in range(5):
        await look(desk, AT + timedelta(minutes=minutes))

    (mail,) = await written()
    assert "a refuzat de două ori" in mail.text
    assert "cel mult până pe 14.12.2026" in mail.text
    assert (mail.recipient, mail.language) == (await address(desk, "ana"), "ro")


async def test_when_the_access_is_over_too_the_mail_says_that_nothing_comes(desk: Desk) -> None:
    over = to_text(AT - timedelta(minutes=1))
    await give(desk, state="needs_authorisation", access_expires_at=over)

    await look(desk)

    (mail,) = await written()
    assert "Din SPV nu se mai aduce nimic pentru:\n  - Alfa Construct SRL\n" in mail.text


async def test_when_the_last_day_is_over_the_mail_does_not_say_that_it_was_refused(
    desk: Desk,
) -> None:
    await give(desk, days=-1)

    await look(desk)

    (mail,) = await written()
    assert mail.subject == "Autorizarea SPV pe numele Ana Pop trebuie dată din nou"
    assert "a expirat pe 23.11.2026." in mail.text
    assert "refuzat" not in mail.text


async def test_in_the_language_of_the_reader(desk: Desk) -> None:
    await accounts.set_language(desk.world.ids["ana"], "en")
    await give(desk, days=14)

    await look(desk)

    (mail,) = await written()
    assert mail.subject == "The SPV authorisation of Ana Pop expires on 8 Dec 2026"
    assert mail.language == "en"


async def test_without_the_holders_name_it_is_an_authorisation(desk: Desk) -> None:
    await give(desk, days=14, holder="")

    await look(desk)

    (mail,) = await written()
    assert mail.subject == "O autorizare SPV expiră pe 08.12.2026"


async def test_when_the_account_is_disabled_the_administrators_are_told(desk: Desk) -> None:
    await desk.world.person("geta", firm_role=accounts.Role.ADMIN)
    await desk.world.person("ghita", firm_role=accounts.Role.ADMIN)
    await give(desk, state="needs_authorisation")
    await accounts.disable(desk.world.ids["ghita"], AT)
    await accounts.disable(desk.world.ids["ana"], AT)

    await look(desk)

    expected = {await address(desk, "gina"), await address(desk, "geta")}
    assert {to for to, _ in await told()} == expected


# Bianca is at another client, Bogdan only an approver: the page would not open for them.
@pytest.mark.parametrize("by", ["bianca", "bogdan", ""])
async def test_who_can_no_longer_link_any_of_the_clients_is_not_told(desk: Desk, by: str) -> None:
    await give(desk, by=by or "ana", state="needs_authorisation")
    if not by:
        desk.vault.grants[0]["requested_by"] = "nobody"

    await look(desk)

    assert await told() == [(await address(desk, "gina"), "0")]


async def test_an_authorisation_that_no_client_has_is_nobodys_trouble(desk: Desk) -> None:
    await give(desk, cifs=(), state="needs_authorisation")
    await look(desk)
    assert await written() == []

    await give(desk, cifs=(ALFA,), state="needs_authorisation")
    await look(desk)
    assert len(await written()) == 1


async def test_a_client_that_another_authorisation_reaches_is_not_said_to_stop(desk: Desk) -> None:
    await give(desk, state="needs_authorisation", access_expires_at=to_text(AT))
    await give(desk, H, cifs=(ALFA,))

    await look(desk)

    (mail,) = await written()
    assert "Alfa" not in mail.text
    (failing,) = await grants.failing(AT)
    assert (failing.grant.uid, failing.clients) == (G, frozenset())


async def test_given_again_it_is_over_and_what_was_not_sent_is_not_sent(desk: Desk) -> None:
    await give(desk, state="needs_authorisation")
    await look(desk)
    assert [alert.kind for alert in await alerts.open_for(None)] == ["grant"]

    later = AT + timedelta(hours=2)
    await give(desk, issued_at=to_text(later), days=365)
    assert await look(desk, later) is False

    assert await alerts.open_for(None) == []
    assert [mail.state for mail in await written()] == [MailState.WITHDRAWN]
    await give(desk, issued_at=to_text(later), days=365, state="needs_authorisation")
    await look(desk, later + timedelta(days=60))
    assert [stage for _, stage in await told()] == ["0", "0"]


async def test_what_the_vault_forgets_is_forgotten(desk: Desk) -> None:
    await give(desk, state="needs_authorisation")
    await look(desk)
    desk.vault.grants = []

    await look(desk)

    assert await grants.known() == []
    assert await alerts.open_for(None) == []
    assert [mail.state for mail in await written()] == [MailState.WITHDRAWN]


async def test_a_flapping_state_writes_no_second_mail_to_the_same_person(desk: Desk) -> None:
    for state in ("needs_authorisation", "active", "needs_authorisation"):
        await give(desk, state=state)
        await look(desk)

    assert len(await written()) == 1


async def test_two_processes_that_look_at_once_write_one_mail(desk: Desk) -> None:
    await give(desk, state="needs_authorisation")

    await asyncio.gather(*(look(desk) for _ in range(4)))

    assert len(await written()) == 1
    assert len(await alerts.open_for(None)) == 1


async def test_cut_off_before_the_mail_nothing_counts_as_told(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await give(desk, state="needs_authorisation")
    with monkeypatch.context() as patched:

        async def power_cut(*_: Any) -> None:
            raise RuntimeError("cut off")

        patched.setattr(mails, "put", power_cut)
        with pytest.raises(RuntimeError):
            await look(desk)
    assert await alerts.open_for(None) == []
    assert await grants.known() == []

    await look(desk)

    assert len(await written()) == 1


# When the vault is asked, and what goes on


async def test_the_vault_is_asked_hourly_and_every_minute_while_something_is_wrong(
    desk: Desk,
) -> None:
    await give(desk)
    watch = Standing(desk.context)
    asked = []
    for seconds in range(0, 3700, 15):
        before = desk.vault.standings
        await watch.watch(AT + timedelta(seconds=seconds))
        asked += [seconds] * (desk.vault.standings - before)
    assert asked == [0, 3600]

    await give(desk, state="needs_authorisation")
    start = AT + timedelta(hours=3)
    before = desk.vault.standings
    for seconds in range(0, 300, 15):
        await watch.watch(start + timedelta(seconds=seconds))
    assert desk.vault.standings - before == 5


async def test_a_refusal_has_the_vault_asked_at_once(desk: Desk) -> None:
    watch = Standing(desk.context)
    await watch.watch(AT)
    await give(desk, state="needs_authorisation")
    desk.vault.answers[ALFA] = [refusal(503, "needs-authorisation")]
    await desk.listing()

    await watch.watch(AT + timedelta(seconds=15))

    assert desk.vault.standings == 2
    assert len(await written()) == 1


async def test_while_the_vault_is_away_nothing_is_forgotten(desk: Desk) -> None:
    await give(desk, state="needs_authorisation")
    await look(desk)
    there = desk.context.spv
    desk.context.spv = SpvClient(desk.context.settings.run_dir / "nobody.sock", "prod")

    await Standing(desk.context).watch(AT + timedelta(hours=2))

    await desk.context.spv.close()
    desk.context.spv = there
    assert len(await grants.known()) == 1
    assert len(await alerts.open_for(None)) == 1


async def test_what_needs_authorisation_is_not_asked_for_again_and_again(desk: Desk) -> None:
    needed = refusal(503, "needs-authorisation")
    await give(desk, state="needs_authorisation")
    await look(desk)
    desk.vault.answers[ALFA] = [needed] * 50

    await desk.listing(priority=0)
    for _ in range(5):
        await desk.run()
        await look(desk, datetime.now(UTC))

    assert len(desk.vault.lists) == 1
    job = await jobs.latest("list", desk.world.alfa_uid)
    assert job is not None
    assert job.next_attempt_at > datetime.now(UTC) + timedelta(minutes=50)


@pytest.mark.parametrize("how", ["again", "another", "confirmed"])
async def test_once_somebody_authorised_the_client_is_listed_by_itself(
    desk: Desk, how: str
) -> None:
    cifs = () if how == "confirmed" else (ALFA,)
    state = "active" if how == "confirmed" else "needs_authorisation"
    await give(desk, cifs=cifs, state=state)
    desk.vault.answers[ALFA] = [refusal(403 if how == "confirmed" else 503, "unmapped")]
    await desk.listing(priority=0)
    await look(desk)
    assert [alert.kind for alert in await alerts.open_for(desk.world.alfa)] == ["token"]
    assert await desk.run("list") == []

    if how == "again":
        await give(desk, issued_at=to_text(AT + timedelta(hours=1)))
    elif how == "another":
        await give(desk, H)
    else:
        await give(desk)
    await look(desk)

    (job,) = await desk.run("list")
    assert job.state == "done"
    assert await alerts.open_for(desk.world.alfa) == []
    assert await health.stopped(await desk.world.viewer("ana")) == {}
    await look(desk)
    assert await desk.run("list") == []


async def test_who_has_no_word_in_it_is_not_listed(desk: Desk) -> None:
    await give(desk, cifs=(BETA,))

    await look(desk)

    assert await jobs.waiting("list") == 0
    assert await clients.by_identifier(BETA) is not None
