"""The passwords of drives: for one person on one device."""

from __future__ import annotations

from datetime import timedelta

import pytest

from appliance.core.errors import BadInput, NotFound
from appliance.store import drive_passwords
from tests.support.store import NOW, World


async def test_a_drive_password_opens_for_its_person_on_its_device(world: World) -> None:
    password = await drive_passwords.create(world.ids["ana"], " Laptop  acasă ", NOW)

    found = drive_passwords.viewer_for(" ANA@example.ro", password.upper(), NOW)

    assert found is not None
    person, device = found
    assert person == await world.viewer("ana")
    assert device.device == "Laptop acasă"
    assert len(password) == len("arh1_12345678_") + 32
    for day in ("2026-11-24", "2026-11-23"):
        await drive_passwords.note_use(device.id, day)
    [row] = await drive_passwords.listed(world.ids["ana"], NOW)
    assert row.last_used_on == "2026-11-24"


async def test_every_wrong_drive_password_is_wrong_in_the_same_way(world: World) -> None:
    ana = world.ids["ana"]
    password = await drive_passwords.create(ana, "laptop", NOW)
    _, public_id, secret = password.split("_")
    other = (await drive_passwords.create(ana, "phone", NOW)).split("_")[2]
    wrong = [
        ("bogdan@example.ro", password),
        ("ana@example.ro", f"arh1_{public_id}_{other}"),
        ("ana@example.ro", f"arh1_aaaaaaaa_{secret}"),
        ("ana@example.ro", f"arh2_{public_id}_{secret}"),
        ("ana@example.ro", f"arh1_{public_id}_{secret}_"),
        ("ana@example.ro", secret),
        ("ana@example.ro", ""),
        ("ana@example.ro", "arh1__"),
        ("ana@example.ro", "\ud800_\ud800_\ud800"),
        ("ana@example.ro", f"arh1_\ud800_{secret}"),
        ("", password),
    ]

    for email, text in wrong:
        assert drive_passwords.viewer_for(email, text, NOW) is None, text


async def test_a_drive_password_ends_by_revocation_and_age(world: World) -> None:
    ana, bogdan = world.ids["ana"], world.ids["bogdan"]
    password = await drive_passwords.create(ana, "laptop", NOW)
    public_id = password.split("_")[1]
    after = NOW + timedelta(days=400)

    assert drive_passwords.viewer_for("ana@example.ro", password, after) is None
    with pytest.raises(NotFound):
        await drive_passwords.revoke(bogdan, public_id, NOW)
    await drive_passwords.revoke(ana, public_id, NOW)
    await drive_passwords.revoke(ana, public_id, NOW)
    assert drive_passwords.viewer_for("ana@example.ro", password, NOW) is None


async def test_a_twenty_first_drive_password_is_refused(world: World) -> None:
    for number in range(20):
        await drive_passwords.create(world.ids["ana"], str(number), NOW)

    with pytest.raises(BadInput, match="20"):
        await drive_passwords.create(world.ids["ana"], "one more", NOW)
