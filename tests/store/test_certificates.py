"""Certificates that administrators add, and what each of them signed."""

from __future__ import annotations

import json

import pytest

from appliance.core import certificates as core
from appliance.core.certificates import PINNED
from appliance.core.errors import BadInput
from appliance.core.signature import SignatureResult, Verdict
from appliance.store import audit, certificates, documents, engine, jobs
from tests.support.spv import signer
from tests.support.store import NOW, World

MINE = signer().pinned


async def signed(world: World, reason: str = "unknown_certificate") -> str:
    result = "valid" if reason == "ok" else "valid_unknown_certificate"
    return await world.document(
        signature_result=result, signature_reason=reason, signature_fingerprint=MINE.fingerprint
    )


async def recorded(action: str) -> list[dict[str, object]]:
    rows = await engine.fetch("SELECT body FROM audit ORDER BY seq")
    bodies = [json.loads(row["body"]) for row in rows]
    return [body for body in bodies if body["action"] == action]


async def test_an_added_certificate_is_trusted_beside_the_others_and_told_of(world: World) -> None:
    certificate, new = await certificates.add(
        signer().pem, NOW, by=world.ids["gina"], by_uid="gina-uid"
    )

    assert new
    assert certificate == MINE
    assert await certificates.trusted(PINNED) == {**PINNED, MINE.fingerprint: MINE}
    (one,) = await certificates.added()
    assert (one.certificate, one.by, one.at) == (MINE, "Gina", NOW)
    (told,) = await recorded("certificate:add")
    assert (told["actor"], told["object"]) == ("gina-uid", MINE.fingerprint)
    job = await jobs.latest("reverify", MINE.fingerprint)
    assert job is not None


async def test_added_twice_it_is_there_once(world: World) -> None:
    await certificates.add(signer().pem, NOW)
    der = signer().certificate.public_bytes(core.serialization.Encoding.DER)

    _, new = await certificates.add(der, NOW)

    assert not new
    assert len(await certificates.added()) == 1
    assert len(await recorded("certificate:add")) == 1


async def test_a_removed_certificate_is_trusted_no_more_and_told_of_once(world: World) -> None:
    await certificates.add(signer().pem, NOW)

    assert await certificates.remove(MINE.fingerprint, NOW, by_uid="gina-uid")
    assert not await certificates.remove(MINE.fingerprint, NOW, by_uid="gina-uid")

    assert await certificates.trusted(PINNED) == PINNED
    (told,) = await recorded("certificate:remove")
    assert (told["actor"], told["object"]) == ("gina-uid", MINE.fingerprint)
    assert audit.verify(world.settings.database_path) == []


async def test_a_certificate_that_the_configuration_lost_has_its_documents_judged_again(
    world: World,
) -> None:
    await signed(world, "ok")

    assert await certificates.queue_reverify({MINE.fingerprint: MINE}, NOW) == 0
    assert await certificates.queue_reverify(PINNED, NOW) == 1
    (found,) = await certificates.waiting(MINE.fingerprint, 0, 10, known=False)
    assert found.reason == "ok"


async def test_what_is_no_certificate_is_refused_and_leaves_nothing(world: World) -> None:
    with pytest.raises(BadInput):
        await certificates.add(b"-----BEGIN CERTIFICATE-----\nxx\n", NOW)

    assert await certificates.added() == []


async def test_what_a_certificate_signed_is_counted(world: World) -> None:
    for reason in ("unknown_certificate", "unknown_certificate", "ok", "digest_mismatch"):
        await signed(world, reason)

    use = (await certificates.uses())[MINE.fingerprint]

    assert (use.number, use.unknown, use.not_valid_then) == (3, 2, 0)


async def test_a_second_judgement_moves_the_count_asks_for_the_pdf_and_is_told_of(
    world: World,
) -> None:
    uid = await signed(world)
    (found,) = await certificates.waiting(MINE.fingerprint, 0, 10)
    verdict = Verdict(SignatureResult.VALID, "ok", MINE.fingerprint)

    assert await certificates.judged([(found, verdict)], NOW) == 1
    assert await certificates.judged([(found, verdict)], NOW) == 0

    document = await documents.by_uid(uid)
    assert (document.signature_result, document.signature_reason) == ("valid", "ok")
    assert (document.status.value, document.revision) == ("pending", 1)
    assert await certificates.waiting(MINE.fingerprint, 0, 10) == []
    use = (await certificates.uses())[MINE.fingerprint]
    assert (use.number, use.unknown) == (1, 0)
    (told,) = await recorded("document:reverify")
    assert told["object"] == uid
    assert told["data"] == {
        "result": "valid",
        "reason": "ok",
        "fingerprint": MINE.fingerprint,
    }
    assert await jobs.latest("render", uid) is not None
    assert audit.verify(world.settings.database_path) == []


async def test_a_certificate_that_an_upgrade_brings_has_its_documents_judged_again(
    world: World,
) -> None:
    await signed(world)

    assert await certificates.queue_reverify(PINNED, NOW) == 0
    assert await certificates.queue_reverify({**PINNED, MINE.fingerprint: MINE}, NOW) == 1
    assert await jobs.latest("reverify", MINE.fingerprint) is not None


async def test_dated_outside_its_validity_a_document_is_not_judged_at_every_start(
    world: World,
) -> None:
    await signed(world, "certificate_not_valid_then")

    assert await certificates.queue_reverify({MINE.fingerprint: MINE}, NOW) == 0
    assert (await certificates.uses())[MINE.fingerprint].not_valid_then == 1
