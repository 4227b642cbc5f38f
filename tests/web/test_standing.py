"""Who is told of an authorisation that fails, in which words, and where the link leads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from appliance.core import grant_words
from appliance.core.grant_words import Cause
from appliance.core.sentence import Sentence
from appliance.store import accounts, alerts, clients, grants, mails
from appliance.store.engine import execute, transaction
from appliance.store.grants import Grant
from appliance.store.mails import MailState
from tests.support.store import NOW
from tests.support.web import Site

ALFA, BETA = "12345674", "98765438"
G = "a" * 32


def grant(uid: str = G, *, days: int = 14, cifs: Sequence[str] = (ALFA,), **fields: Any) -> Grant:
    ends = NOW + timedelta(days=days)
    made = Grant(
        uid=uid,
        holder="Ana Pop",
        state="active",
        requested_by="somebody",
        issued_at=NOW - timedelta(days=100),
        access_expires_at=min(ends, NOW + timedelta(days=5)),
        refresh_expires_at=ends,
        cifs=tuple(cifs),
    )
    return replace(made, **fields)


async def learned(*those: Grant) -> None:
    await grants.learn(those, NOW)


async def page(site: Site, name: str, part: str = "spv", *, beta: bool = False) -> str:
    uid = site.world.beta_uid if beta else site.world.alfa_uid
    path = part if part.startswith("/") else f"/clients/{uid}/{part}"
    return (await (await site.browser(name)).get(path)).text


LINK = f'href="/spv/grants/{G}"'
ENDS = "Autorizarea SPV pe numele Ana Pop expiră pe 08.12.2026 (în 14 zile)."


@pytest.mark.parametrize(
    ("name", "path", "told"),
    [
        ("ana", "pending", True),  # the owner
        ("ana", "spv", True),
        ("elena", "/clients", True),  # the accountant
        ("elena", "/spv", True),
        ("gina", "/spv", True),  # the administrator
        ("bogdan", "pending", False),  # approves, and can do nothing about it
        ("corina", "pending", False),
        ("dan", "spv", False),
        ("florin", "/clients", False),  # accountant of Beta
        ("florin", "/spv", False),
    ],
)
async def test_that_it_ends_soon_is_told_to_who_can_act(
    site: Site, name: str, path: str, told: bool
) -> None:
    await learned(grant())

    text = await page(site, name, path)

    assert text.count(ENDS) == int(told), text
    assert text.count(LINK) == int(told)


async def test_31_days_before_nobody_is_told(site: Site) -> None:
    await learned(grant(days=31))

    assert "expiră pe" not in await page(site, "ana")


@pytest.mark.parametrize(
    ("name", "path", "link"),
    [
        ("ana", "pending", LINK),
        ("gina", "/spv", LINK),
        ("elena", "/clients", LINK),
        ("bogdan", "pending", '/spv"'),
        ("corina", "pending", '/spv"'),
        ("dan", "spv", None),
    ],
)
async def test_that_nothing_is_fetched_any_more_is_told_to_everybody_there(
    site: Site, name: str, path: str, link: str | None
) -> None:
    await learned(grant(state="needs_authorisation", access_expires_at=NOW))

    text = await page(site, name, path)

    assert text.count("ANAF nu mai acceptă autorizarea SPV pe numele Ana Pop.") == 1
    assert "Pentru Alfa Construct SRL nu se mai aduce nimic până când" in text
    assert (LINK in text) == (link == LINK)
    assert link is None or link in text
    assert "ANAF nu mai acceptă" not in await page(site, "bianca", "spv", beta=True)


async def test_as_long_as_spv_is_read_the_last_day_is_told(site: Site) -> None:
    await learned(grant(state="needs_authorisation"))

    assert "se mai aduc facturi cel mult până pe 29.11.2026" in await page(site, "ana")


async def test_past_its_last_day_it_has_expired_and_nobody_refused_it(site: Site) -> None:
    await learned(grant(days=-1))

    text = await page(site, "ana")

    assert "Autorizarea SPV pe numele Ana Pop a expirat pe 23.11.2026. Pentru Alfa" in text
    assert "nu mai acceptă" not in text


async def test_a_stopped_list_and_its_authorisation_are_one_note(site: Site) -> None:
    await alerts.raise_once("token", site.world.alfa_uid, 0, site.world.alfa, NOW)
    alone = await page(site, "ana", "pending")
    assert "Nicio autorizare SPV valabilă nu ajunge la Alfa Construct SRL" in alone
    assert f'href="/clients/{site.world.alfa_uid}/spv/link"' in alone

    await learned(grant(state="needs_authorisation"))
    together = await page(site, "ana", "pending")

    assert "Nicio autorizare" not in together
    # What was refused just now is not said to be read for some days more.
    assert together.count("nu se mai aduce nimic") == 1
    assert "se mai aduc facturi" not in together


async def test_nobody_reads_the_name_of_another_client(site: Site) -> None:
    await learned(grant(state="needs_authorisation", cifs=(ALFA, BETA), access_expires_at=NOW))

    of_ana = await page(site, "ana", "pending")
    of_elena = await page(site, "elena", "/spv")
    of_gina = await page(site, "gina", "/spv")

    assert "Beta" not in of_ana + of_elena
    assert "Pentru Alfa Construct SRL, Beta Comerț SRL nu se mai aduce nimic" in of_gina


async def test_a_client_that_another_authorisation_reaches_is_not_warned(site: Site) -> None:
    await learned(grant(state="needs_authorisation"), grant("b" * 32, days=300))

    assert "Ana Pop" not in await page(site, "ana")


async def test_many_that_fail_are_not_a_page_of_notes(site: Site) -> None:
    for number in range(6):
        await clients.create_client(f"Firma {number} SRL", [f"1000{number}"], NOW)
    await learned(
        *(
            grant(f"{number:032x}", cifs=(f"1000{number}",), state="needs_authorisation")
            for number in range(6)
        )
    )

    text = await page(site, "gina", "/spv")

    assert text.count("ANAF nu mai acceptă") == 3
    assert "Încă 3 autorizări SPV așteaptă pe cineva." in text


async def test_in_english(site: Site) -> None:
    await learned(grant(days=1))
    await accounts.set_language(site.world.ids["ana"], "en")

    text = await page(site, "ana")

    assert "The SPV authorisation of Ana Pop expires on 25 Nov 2026 (tomorrow)." in text


DAYS = {
    0: "astăzi", 1: "mâine", 2: "în 2 zile", 3: "în 3 zile", 14: "în 14 zile", 19: "în 19 zile",
    20: "în 20 de zile", 21: "în 21 de zile", 30: "în 30 de zile", 101: "în 101 zile",
}  # fmt: skip


@pytest.mark.parametrize(("number", "words"), DAYS.items())
def test_days_are_counted_as_romanians_do(number: int, words: str) -> None:
    assert grant_words.days_words(number).ro == words
    said = grant_words.note(
        Cause.ENDING, "", Sentence("Alfa", "Alfa"), last=NOW, days=number, until=NOW
    )
    assert said.ro.startswith(f"O autorizare SPV expiră pe 24.11.2026 ({words}).")


# The board of the firm


async def test_the_board_counts_the_authorisations_that_the_person_works_with(site: Site) -> None:
    await learned(
        grant(),
        grant("b" * 32, days=300, cifs=(BETA,)),
        grant("c" * 32, cifs=(BETA,), state="needs_authorisation"),
        grant("d" * 32, days=300, cifs=()),
    )

    assert "Autorizări SPV: 2 valabile, 1 expiră curând, 1 de autorizat din nou." in await page(
        site, "gina", "/spv"
    )
    assert "Autorizări SPV: 1 expiră curând." in await page(site, "elena", "/spv")
    assert "Autorizări SPV: 1 valabilă, 1 de autorizat din nou." in await page(
        site, "florin", "/spv"
    )


async def put(number: int) -> str:
    address = f"ana{number}@alfa.example"
    assert await mails.put(f"test:{number}", address, "ro", "Subiect", "Text", NOW)
    async with transaction():
        rows = await execute("SELECT uid FROM mail ORDER BY id DESC LIMIT 1", [])
    return str(rows[0]["uid"])


async def test_mails_that_wait_for_the_mail_server_are_counted(site: Site) -> None:
    assert "e-mail" not in await page(site, "gina", "/spv")
    for number in range(3):
        await put(number)

    text = await page(site, "gina", "/spv")

    assert "3 e-mailuri așteaptă: mail.host nu este configurat." in text
    assert "@alfa.example" not in text


async def test_why_mails_wait_is_told_when_there_is_a_mail_server(site: Site) -> None:
    portal = site.app.portal
    portal.settings = replace(portal.settings, mail_host="mail.example")
    uid = await put(1)
    assert "e-mail" not in await page(site, "gina", "/spv")

    await mails.explain(uid, Sentence("Serverul de e-mail nu răspunde.", "away"))

    text = await page(site, "gina", "/spv")
    assert "1 e-mail așteaptă să fie trimis. Serverul de e-mail nu răspunde." in text


async def test_who_was_refused_is_told_to_the_administrator(site: Site) -> None:
    uid = await put(1)
    await mails.settle(uid, MailState.REFUSED, NOW, Sentence("„550 no such user”.", "550"))

    of_gina = await page(site, "gina", "/spv")
    of_elena = await page(site, "elena", "/spv")

    assert "1 e-mail a fost refuzat" in of_gina
    assert "ana1@alfa.example: „550 no such user”." in of_gina
    assert "1 e-mail a fost refuzat" in of_elena
    assert "ana1@" not in of_elena
