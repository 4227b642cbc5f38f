"""Moving a folder on the drive is deciding: what it does, and every way in which it is refused."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from urllib.parse import quote

from appliance.core import tree
from appliance.core.roles import Status
from appliance.core.times import BUCHAREST
from tests.support.dav import CLIENTS, XML, World, at, moved

ALFA = tree.join([CLIENTS["alfa"]], collection=False)


def test_moving_a_folder_to_aprobate_approves_it(world: World) -> None:
    row = world.add()
    answer = world.move(row.path(), moved(row, "Aprobate"), "ana", Overwrite="F")
    assert answer.status == 201
    assert answer.headers["location"] == moved(row, "Aprobate") + "/"
    assert world.status_of(row)[0] == "approved"
    assert world.listing(row.path(), "ana").status == 404
    assert row.name in world.listing(at("Aprobate"), "contabil").names
    ((action, channel, device),) = world.sql(
        "SELECT action, channel, device FROM event WHERE document ="
        " (SELECT id FROM document WHERE uid = ?)",
        row.uid,
    )
    assert (action, channel, device) == ("approve", "drive", "laptop")


def test_moving_a_folder_to_respinse_rejects_it_with_a_reason_and_back_reconsiders(
    world: World,
) -> None:
    row = world.add()
    assert world.move(row.path(), moved(row, "Respinse"), "ana").status == 201
    assert world.status_of(row)[0] == "rejected"
    ((reason,),) = world.sql(
        "SELECT reason FROM event WHERE document = (SELECT id FROM document WHERE uid = ?)",
        row.uid,
    )
    assert reason == "mutat pe disc"
    assert world.move(moved(row, "Respinse"), row.path(), "ana").status == 201
    assert world.status_of(row)[0] == "pending"


def test_recording_without_a_month_takes_the_default_and_resolves_where_it_was_put(
    world: World,
) -> None:
    row = world.add(status=Status.APPROVED)
    put = moved(row, "Primite")
    answer = world.move(row.path(), put, "contabil")
    assert answer.status == 201
    status, period = world.status_of(row)
    assert status == "archived"
    assert answer.headers["location"] == moved(row, "Primite", str(period)) + "/"
    for path in (put, moved(row, "Primite", str(period))):
        listed = world.listing(path, "contabil")
        assert listed.status == 207
        assert listed.hrefs[0] == path + "/"
        assert world.ask("GET", f"{path}/{row.name}.xml", "contabil").body == XML
    assert row.name not in world.listing(at("Primite"), "contabil").names
    world.sql("UPDATE document SET alias_until = '2026-01-01T00:00:00.000000Z'")
    assert world.listing(put, "contabil").status == 404
    assert world.listing(moved(row, "Primite", str(period)), "contabil").status == 207


def test_recording_into_a_month_takes_that_month(world: World) -> None:
    months = sorted(world.listing(at("Primite"), "contabil").names)
    row = world.add(status=Status.APPROVED)
    answer = world.move(row.path(), moved(row, "Primite", months[-1]), "contabil")
    assert answer.status == 201
    assert world.status_of(row) == ("archived", months[-1])


def test_the_wrong_kind_and_a_closed_month_are_conflicts_with_a_sentence(world: World) -> None:
    row = world.add(status=Status.APPROVED)
    world.sql(
        "INSERT OR IGNORE INTO closed_period (client, period, closed_at) VALUES (?, '2025-01', '')",
        world.client_ids["alfa"],
    )
    before = world.dump()
    wrong = world.move(row.path(), moved(row, "Emise"), "contabil")
    assert wrong.status == 409
    assert "Primite" in wrong.sentence
    closed = world.move(row.path(), moved(row, "Primite", "2025-01"), "contabil")
    assert closed.status == 409
    assert "este închisă" in closed.sentence
    assert world.dump() == before


def test_a_month_that_is_not_offered_is_a_conflict_that_names_the_open_ones(world: World) -> None:
    row = world.add(status=Status.APPROVED)
    offered = sorted(world.listing(at("Emise"), "contabil").names)
    current = datetime.now(BUCHAREST).strftime("%Y-%m")
    assert offered[-1] == current
    before = world.dump()
    year = int(current[:4])
    soon = f"{year + 1}-01" if current[5:] == "12" else f"{year}-{int(current[5:]) + 1:02d}"
    for month in (
        soon,
        f"{year + 1}-06",
        f"{year + 4}-05",
        "9999-12",
        "2019-04",
        "2026-13",
        "2026-00",
    ):
        refused = world.move(row.path(), moved(row, "Primite", month), "contabil")
        assert refused.status == 409, month
        assert f"Luna {month} " in refused.sentence
        assert refused.sentence.endswith(f": {', '.join(offered)}.")
        assert world.move(row.path(), moved(row, "Primite", month), "ana").status == 403
        assert world.listing(at("Primite", month), "contabil").status == 404
    for name in ("2026-1", "2026-113", "noiembrie", "2026_11", "２０２６-11"):
        assert world.move(row.path(), moved(row, "Primite", name), "contabil").status == 403, name
    assert world.dump() == before


def test_every_spelling_of_the_destination_is_the_same_place(world: World) -> None:
    for slash_from, slash_to in (("", ""), ("/", ""), ("", "/"), ("/", "/")):
        row = world.add("beta")
        answer = world.move(row.path() + slash_from, moved(row, "Aprobate") + slash_to, "bogdan")
        assert answer.status == 201
    decomposed = quote(unicodedata.normalize("NFD", CLIENTS["beta"]))
    for form in (
        "{path}",
        "http://127.0.0.1:1/{path}",
        "https://localhost{path}",
        "HTTP://LOCALHOST:9{path}",
        f"/{decomposed}/Aprobate/{{name}}",
        f"/{decomposed}/APROBATE/{{name}}",
    ):
        row = world.add("beta")
        to = form.format(path=moved(row, "Aprobate"), name=row.name)
        assert world.ask("MOVE", row.path(), "bogdan", Destination=to).status == 201, form


def test_nothing_but_a_whole_folder_under_its_name_to_the_next_folder_moves(world: World) -> None:
    row, other = world.add(), world.add()
    file = f"{row.name}.pdf"
    beta = at("Aprobate", row.name, client="beta")
    cells = [
        (row.path(), at("Aprobate", "renamed")),
        (row.path(), at("De aprobat", "renamed")),
        (row.path(), row.path()),
        (row.path(), at("Aprobate")),
        (row.path(), at("Aprobate", other.name)),
        (row.path(), at("Aprobate", row.name, row.name)),
        (row.path(), ALFA),
        (row.path(), "/"),
        (row.path(), beta),
        (row.path(), moved(row, "Primite")),
        (row.path(), moved(row, "Primite", "2026-11")),
        (row.path(), at("Unknown", row.name)),
        (row.path(), f"/nobody/Aprobate/{row.name}"),
        (row.path(file), at("Aprobate", row.name, file)),
        (row.path(file), at("Aprobate", file)),
        (row.path(file), row.path("renamed.pdf")),
        (at("De aprobat"), at("Aprobate2")),
        (ALFA, "/other"),
        ("/", "/other"),
        (at("Primite", "2026-11"), at("Primite", "2026-12")),
        (row.path(), moved(row, "Aprobate") + ";x"),
        (row.path(), moved(row, "Aprobate") + "?x"),
        (row.path(), moved(row, "Aprobate") + "#x"),
        (row.path(), moved(row, "Aprobate") + "%00"),
        (row.path(), at("De aprobat") + f"/../Aprobate/{row.name}"),
    ]
    before = world.dump()
    for overwrite in ("T", "F"):
        for source, target in cells:
            answer = world.move(source, target, "ana", Overwrite=overwrite)
            assert answer.status == 403, (source, target, answer)
            assert answer.sentence.endswith(".")
    for to in ("http://elsewhere.example" + moved(row, "Aprobate"), "//x" + moved(row, "Aprobate")):
        assert world.ask("MOVE", row.path(), "ana", Destination=to).status == 403
    assert world.ask("MOVE", row.path(), "ana").status == 400
    assert world.move(at("De aprobat", "absent"), moved(row, "Aprobate"), "ana").status == 404
    assert world.dump() == before


def test_a_move_that_was_meant_for_another_state_does_nothing(world: World) -> None:
    row = world.add()
    before = world.dump()
    for name, value in (
        ("If", "(<opaquelocktoken:e71d4fae-5dec-22d6-fea5-00a0c91e6be4>)"),
        ("If", '(["x"])'),
        ("If-Match", '"x"'),
        ("If-None-Match", "*"),
    ):
        answer = world.move(row.path(), moved(row, "Aprobate"), "ana", **{name: value})
        assert answer.status == 412, name
        assert answer.sentence.endswith(".")
    assert world.dump() == before
    answer = world.move(row.path(), moved(row, "Aprobate"), "ana", If_Match="*")
    assert answer.status == 201


def test_a_device_that_may_only_read_moves_nothing(world: World) -> None:
    row = world.add()
    world.sql("UPDATE drive_password SET read_only = 1 WHERE account = 4")
    try:
        answer = world.move(row.path(), moved(row, "Aprobate"), "ana")
        assert answer.status == 403
        assert world.status_of(row)[0] == "pending"
        assert world.listing(row.path(), "ana").status == 207
    finally:
        world.sql("UPDATE drive_password SET read_only = 0")
