"""The drive as its clients meet it: listings, files and refusals, on the real server."""

from __future__ import annotations

import base64
import hashlib
import http.client
import socket
import unicodedata
from contextlib import closing
from urllib.parse import quote

import pytest
from lxml import etree

from appliance.core import tree
from appliance.core.roles import Kind, Status
from appliance.core.tree import Folder
from appliance.store.files import Archive
from tests.support.dav import CLIENTS, PDF, XML, Row, World, at, moved

ALFA = tree.join([CLIENTS["alfa"]], collection=False)
BETA = tree.join([CLIENTS["beta"]], collection=False)
CLIENT_FOLDERS = {str(folder) for folder in Folder}
FIRM_FOLDERS = {"Aprobate", "Emise", "Primite", "Altele"}


# Listings


def test_the_root_lists_the_clients_of_the_person(world: World) -> None:
    assert world.listing("/", "ana").names == {CLIENTS["alfa"]}
    assert world.listing("/", "admin").names == set(CLIENTS.values())
    assert world.listing("/", "ambele").names == {CLIENTS["alfa"], CLIENTS["beta"]}
    assert world.listing("/", "strain").names == set()


def test_the_firm_has_no_folder_for_what_is_not_approved(world: World) -> None:
    assert world.listing(ALFA, "ana").names == CLIENT_FOLDERS
    assert world.listing(ALFA, "contabil").names == FIRM_FOLDERS
    assert world.listing(ALFA, "admin").names == FIRM_FOLDERS
    assert world.listing(BETA, "ambele").names == CLIENT_FOLDERS
    assert world.listing(ALFA, "ambele").names == FIRM_FOLDERS
    for who in ("contabil", "admin"):
        for folder in ("De aprobat", "Respinse", "Anything"):
            assert world.listing(at(folder), who).status == 404


def test_a_document_is_a_folder_with_its_files_under_its_name(world: World) -> None:
    row = world.add(status=Status.APPROVED)
    assert row.name in world.listing(at("Aprobate"), "contabil").names
    listed = world.listing(row.path(), "contabil")
    assert listed.names == {f"{row.name}.xml", f"{row.name}.pdf", f"{row.name}_semnatura.xml"}
    assert listed.hrefs[0] == row.path() + "/"


def test_the_pdf_appears_once_it_is_rendered(world: World) -> None:
    row = world.add(status=Status.APPROVED, pdf=None)
    assert f"{row.name}.pdf" not in world.listing(row.path(), "ana").names
    assert world.ask("GET", row.path(f"{row.name}.pdf"), "ana").status == 404


def test_open_months_are_listed_even_when_empty(world: World) -> None:
    months = world.listing(at("Emise"), "contabil").names
    assert months
    assert all(tree.is_month(month) for month in months)
    empty = world.listing(at("Emise", max(months)), "contabil")
    assert empty.status == 207
    assert world.listing(at("Emise", "1999-01"), "contabil").status == 404


def test_a_recorded_document_is_in_the_month_of_its_kind_alone(world: World) -> None:
    row = world.add(status=Status.ARCHIVED, kind=Kind.ISSUED, period="2026-09")
    assert row.name in world.listing(at("Emise", "2026-09"), "ana").names
    for folder in ("Primite", "Altele"):
        assert world.listing(at(folder, "2026-09", row.name), "ana").status == 404
    assert world.listing(at("Emise", "2026-11", row.name), "ana").status == 404
    assert world.listing(at("Emise", row.name), "ana").status == 404


def test_a_notice_is_filed_under_altele_for_both_sides(world: World) -> None:
    name = world.add_notice()
    for who in ("ana", "contabil"):
        assert name in world.listing(at("Altele", "2026-11"), who).names
        assert world.ask("GET", at("Altele", "2026-11", name, f"{name}.xml"), who).body == (
            b"<Error/>"
        )
    assert world.listing(at("Altele", "2026-11", name), "bogdan").status == 404


@pytest.mark.parametrize("depth", [None, "infinity", "Infinity"])
def test_a_listing_without_end_is_refused_and_a_file_has_no_depth(
    world: World, depth: str | None
) -> None:
    row = world.add()
    headers = {} if depth is None else {"Depth": depth}
    refused = world.ask("PROPFIND", row.path(), "ana", **headers)
    assert refused.status == 403
    assert b"<D:propfind-finite-depth/>" in refused.body
    assert world.ask("PROPFIND", row.path(f"{row.name}.xml"), "ana", **headers).status == 207


@pytest.mark.parametrize("depth", ["0", "1"])
def test_a_file_has_no_members(world: World, depth: str) -> None:
    row = world.add()
    path = row.path(f"{row.name}.xml")
    assert world.listing(path, "ana", depth).hrefs == [path]


def test_a_folder_gets_a_new_date_with_its_newest_file(world: World) -> None:
    row = world.add()
    before = world.listing(row.path(), "ana", "0").body
    world.sql(
        "UPDATE document_file SET created_at = '2026-11-20T10:00:00.000000Z' WHERE role = 'pdf'"
        " AND document = (SELECT id FROM document WHERE uid = ?)",
        row.uid,
    )
    after = world.listing(row.path(), "ana", "0").body
    assert b"Fri, 20 Nov 2026 10:00:00 GMT" in after
    assert before != after


def test_a_depth_of_another_kind_is_wrong(world: World) -> None:
    assert world.ask("PROPFIND", "/", "ana", Depth="2").status == 400


@pytest.mark.parametrize("depth", ["0", "1"])
def test_both_spellings_of_the_slash_are_one_place_and_nothing_redirects(
    world: World, depth: str
) -> None:
    row = world.add()
    plain = world.listing(row.path(), "ana", depth)
    slashed = world.listing(row.path() + "/", "ana", depth)
    assert plain.status == slashed.status == 207
    assert plain.hrefs == slashed.hrefs
    assert plain.hrefs[0].endswith("/")


def test_names_are_found_in_any_case_and_decomposed(world: World) -> None:
    row = world.add("beta")
    found = world.listing(row.path(), "bogdan").hrefs
    for spelling in (row.path().lower(), row.path().upper().replace("%C8", "%c8")):
        assert world.listing(spelling, "bogdan").hrefs == found
    decomposed = "/".join(
        quote(unicodedata.normalize("NFD", segment))
        for segment in ["", CLIENTS["beta"], "De aprobat", row.name]
    )
    assert decomposed.encode() != row.path().encode()
    assert world.listing(decomposed, "bogdan").hrefs == found


def test_every_href_leads_back_to_what_it_names(world: World) -> None:
    row = world.add("beta")
    for path in ("/", BETA, at("De aprobat", client="beta"), row.path()):
        for href in world.listing(path, "bogdan").hrefs:
            assert world.listing(href, "bogdan", "0").hrefs == [href]


def test_what_systems_look_for_everywhere_is_not_there(world: World) -> None:
    for name in ("desktop.ini", "AutoRun.inf", "Thumbs.db", "._x", ".DS_Store", ".hidden"):
        for folder in ("/", ALFA + "/", at("Aprobate") + "/"):
            assert world.listing(folder + name, "ana", "0").status == 404


# Bodies of PROPFIND


def test_a_body_over_64_kilobytes_or_with_a_doctype_is_refused(world: World) -> None:
    long = b'<?xml version="1.0"?><propfind xmlns="DAV:"><allprop/></propfind>' + b" " * 70_000
    assert world.ask("PROPFIND", "/", "ana", long, Depth="0").status == 413
    doctype = b'<!DOCTYPE p [<!ENTITY a "b">]><p/>'
    assert world.ask("PROPFIND", "/", "ana", doctype, Depth="0").status == 400
    assert world.ask("PROPFIND", "/", "ana", b"<nonsense", Depth="0").status == 400


def test_a_chunked_body_is_read(world: World) -> None:
    body = b'<propfind xmlns="DAV:"><prop><displayname/></prop></propfind>'
    with closing(http.client.HTTPConnection("127.0.0.1", world.port, timeout=10)) as connection:
        connection.request(
            "PROPFIND",
            ALFA,
            body=iter([body[:20], body[20:]]),
            headers={**world.authorization("ana"), "Depth": "0"},
            encode_chunked=True,
        )
        answer = etree.fromstring(connection.getresponse().read())
    assert answer.findtext(".//{DAV:}displayname") == CLIENTS["alfa"]


# Files


def test_a_file_comes_whole_with_its_validators_and_never_as_a_page(world: World) -> None:
    row = world.add(mime="text/html")
    answer = world.ask("GET", row.path(f"{row.name}.xml"), "ana")
    assert (answer.status, answer.body) == (200, XML)
    assert answer.headers["etag"] == f'"{hashlib.sha256(XML).hexdigest()[:32]}"'
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    head = world.ask("HEAD", row.path(f"{row.name}.xml"), "ana")
    assert (head.status, head.body) == (200, b"")
    for name in ("etag", "content-length", "last-modified", "content-type"):
        assert head.headers[name] == answer.headers[name]


def test_a_type_that_would_end_a_header_becomes_plain_bytes(world: World) -> None:
    row = world.add(mime="text/html\r\nSet-Cookie: x=1")
    answer = world.ask("GET", row.path(f"{row.name}.xml"), "ana")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert "set-cookie" not in answer.headers


def test_ranges_of_a_file_are_its_bytes(world: World) -> None:
    row = world.add()
    path = row.path(f"{row.name}.pdf")
    for value, first, last in (("0-0", 0, 0), ("1000-70999", 1000, 70_999), ("-500", -500, -1)):
        part = world.ask("GET", path, "ana", Range=f"bytes={value}")
        expected = PDF[first:] if last == -1 else PDF[first : last + 1]
        assert (part.status, part.body) == (206, expected)
        assert part.headers["content-range"].endswith(f"/{len(PDF)}")
    past = world.ask("GET", path, "ana", Range=f"bytes={len(PDF)}-")
    assert (past.status, past.headers["content-range"]) == (416, f"bytes */{len(PDF)}")
    assert world.ask("GET", path, "ana", Range="bytes=0-1,5-6").body == PDF
    etag = world.ask("HEAD", path, "ana").headers["etag"]
    assert world.ask("GET", path, "ana", Range="bytes=0-1", If_Range=etag).status == 206
    assert world.ask("GET", path, "ana", Range="bytes=0-1", If_Range='"x"').body == PDF


def test_a_file_that_the_client_has_is_not_sent_again(world: World) -> None:
    row = world.add()
    path = row.path(f"{row.name}.pdf")
    first = world.ask("HEAD", path, "ana")
    same = world.ask("GET", path, "ana", If_None_Match=first.headers["etag"])
    assert (same.status, same.body) == (304, b"")
    since = world.ask("GET", path, "ana", If_Modified_Since=first.headers["last-modified"])
    assert since.status == 304
    assert world.ask("GET", path, "ana", If_Match='"x"').status == 412


def test_a_folder_is_no_page(world: World) -> None:
    for path in ("/", ALFA, at("Aprobate"), world.add().path()):
        answer = world.ask("GET", path, "ana")
        assert answer.status == 405
        assert b"<html" not in answer.body.lower()
        assert "GET" in answer.headers["allow"]


def test_a_long_file_arrives_whole_and_a_reader_who_leaves_stops_nobody(world: World) -> None:
    pdf = b"%PDF" + bytes(range(256)) * 40_000  # 10 MB
    row = world.add(pdf=pdf)
    path = row.path(f"{row.name}.pdf")
    for _ in range(8):
        with socket.create_connection(("127.0.0.1", world.port)) as stalled:
            credentials = world.authorization("ana")["Authorization"]
            stalled.sendall(
                f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {credentials}\r\n\r\n".encode()
            )
            stalled.recv(1000)
    assert world.ask("GET", path, "ana").body == pdf


def etag(data: bytes) -> str:
    return f'"{hashlib.sha256(data).hexdigest()[:32]}"'


def render_again(world: World, row: Row, pdf: bytes) -> None:
    """Replace the PDF as sync does, up to the moment before its row follows."""
    archive = Archive(world.settings.archive_dir)
    archive.write_derived(world.client_uids[row.client], "2026/11", row.uid, "invoice.pdf", pdf)


@pytest.mark.parametrize("new", [PDF[::-1], PDF + b"more", PDF[:500], PDF[:70_000], b""])
def test_a_pdf_made_again_is_sent_as_it_is_before_its_row_knows(world: World, new: bytes) -> None:
    row = world.add()
    path = row.path(f"{row.name}.pdf")
    assert world.ask("HEAD", path, "ana").headers["etag"] == etag(PDF)

    render_again(world, row, new)

    for verb in ("GET", "HEAD"):
        answer = world.ask(verb, path, "ana", If_None_Match=etag(PDF))
        assert answer.status == 200
        assert answer.body == (new if verb == "GET" else b"")
        assert answer.headers["content-length"] == str(len(new))
        assert answer.headers["etag"] == etag(new)
    assert world.ask("GET", path, "ana", If_None_Match=etag(new)).status == 304
    assert world.ask("GET", path, "ana", If_Match=etag(PDF)).status == 412
    resumed = world.ask("GET", path, "ana", Range="bytes=100-199", If_Range=etag(PDF))
    assert (resumed.status, resumed.body) == (200, new)
    if new:
        part = world.ask("GET", path, "ana", Range="bytes=100-199", If_Range=etag(new))
        assert (part.status, part.body) == (206, new[100:200])
        assert part.headers["content-range"] == f"bytes 100-199/{len(new)}"


def test_a_download_under_way_ends_with_the_file_it_began_with(world: World) -> None:
    old, new = bytes(range(256)) * 80_000, b"new" * 7_000_000
    row = world.add(pdf=old)
    with closing(http.client.HTTPConnection("127.0.0.1", world.port, timeout=20)) as connection:
        connection.request("GET", row.path(f"{row.name}.pdf"), headers=world.authorization("ana"))
        answer = connection.getresponse()
        begun = answer.read(1000)
        render_again(world, row, new)
        assert begun + answer.read() == old
    assert world.ask("GET", row.path(f"{row.name}.pdf"), "ana").body == new


def test_a_file_that_is_written_once_and_was_cut_is_not_sent_as_if_it_were_whole(
    world: World,
) -> None:
    row = world.add()
    folder = world.settings.archive_dir / world.client_uids["alfa"] / "2026/11" / row.uid
    (folder / "invoice.xml").chmod(0o640)
    (folder / "invoice.xml").write_bytes(XML[:-1])
    for verb in ("GET", "HEAD"):
        answer = world.ask(verb, row.path(f"{row.name}.xml"), "ana")
        assert answer.status == 500
    assert "administratorul" in world.ask("GET", row.path(f"{row.name}.xml"), "ana").sentence


# Everything else


OTHER_VERBS = (
    "PUT", "DELETE", "MKCOL", "COPY", "PROPPATCH", "LOCK", "UNLOCK", "POST", "PATCH", "ACL",
    "REPORT", "SEARCH", "TRACE", "MKCALENDAR", "BIND", "LINK",
)  # fmt: skip


@pytest.mark.parametrize("verb", OTHER_VERBS)
def test_every_other_verb_is_refused_and_changes_nothing(world: World, verb: str) -> None:
    row = world.add()
    before = world.dump()
    for path in ("/", ALFA, at("De aprobat"), row.path(), row.path("x.pdf"), at("Aprobate", "new")):
        answer = world.ask(verb, path, "ana", b"body", Destination=moved(row, "Aprobate"))
        assert answer.status == 403, (verb, path)
        assert answer.sentence.endswith(".")
    assert world.dump() == before


def test_a_refused_upload_leaves_the_connection_usable(world: World) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", world.port, timeout=10)) as connection:
        headers = world.authorization("ana")
        for _ in range(3):
            connection.request(
                "PUT", at("Aprobate", "x.bin"), body=b"x" * 1_000_000, headers=headers
            )
            answer = connection.getresponse()
            assert answer.status == 403
            answer.read()
            connection.request("OPTIONS", "/", headers=headers)
            assert connection.getresponse().read() == b""


def test_options_promises_what_a_mac_needs_to_mount_for_moving(world: World) -> None:
    for path in ("/", ALFA, "/nothing/here", "*"):
        answer = world.ask("OPTIONS", path, "ana")
        assert answer.status == 200
        assert answer.headers["dav"] == "1, 2"
        assert answer.headers["ms-author-via"] == "DAV"
        assert "MOVE" in answer.headers["allow"]


@pytest.mark.parametrize(
    "path",
    [
        "/..",
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/{alfa}/../{beta}/Aprobate",
        "/{alfa}/%2e%2e/{beta}/Aprobate",
        "/{alfa}%2fAprobate",
        "/{alfa}/Aprobate%00",
        "/{alfa}/Aprobate%0d%0aX:y",
        "/{alfa}\\Aprobate",
        "/%ff%fe",
        "/%",
        "/%zz",
        "/" + "a/" * 40,
        "/" + "%61" * 3000,
        "/{alfa}/Aprobate?x=../",
        "http://elsewhere/{beta}/Aprobate",
        "x",
    ],
)
def test_a_hostile_path_finds_nothing(world: World, path: str) -> None:
    filled = path.format(alfa=ALFA[1:], beta=BETA[1:])
    for verb in ("PROPFIND", "GET", "MOVE"):
        answer = world.ask(verb, filled, "ana", Depth="0", Destination=at("Aprobate", "x"))
        assert answer.status in (400, 404), (verb, filled)


def test_a_link_inside_the_archive_is_not_followed(world: World) -> None:
    row = world.add()
    folder = world.settings.archive_dir / world.client_uids["alfa"] / "2026/11" / row.uid
    folder.chmod(0o2770)
    (folder / "invoice.pdf").unlink()
    (folder / "invoice.pdf").symlink_to(world.settings.data_dir / "portal.key")
    assert world.ask("GET", row.path(f"{row.name}.pdf"), "ana").status == 404


# Who asks


def test_no_sentence_sends_people_to_a_page_that_is_not_there(world: World) -> None:
    """Drive passwords are handed out by the administrator; the portal has no page for them yet."""
    world.sql("DELETE FROM throttle")
    wrong = "Basic " + base64.b64encode(b"ana@exemplu.ro:wrong").decode()
    said = [world.ask("OPTIONS", "/").sentence]
    said += [world.ask("OPTIONS", "/", Authorization=wrong).sentence for _ in range(25)]
    world.sql("UPDATE drive_password SET read_only = 1 WHERE account = 4")
    try:
        said.append(world.move("/x", "/y", "ana").sentence)
    finally:
        world.sql("UPDATE drive_password SET read_only = 0")
        world.sql("DELETE FROM throttle")
    assert len(set(said)) == 3
    for sentence in said:
        assert "portal" not in sentence
        assert "administrator" in sentence


def test_without_credentials_there_is_only_a_challenge(world: World) -> None:
    for verb in ("OPTIONS", "PROPFIND", "GET", "HEAD", "MOVE", "PUT", "LOCK"):
        answer = world.ask(verb, "/", Cookie="session=abc", Depth="0")
        assert answer.status == 401
        assert answer.headers["www-authenticate"].startswith("Basic realm=")


@pytest.mark.parametrize(
    "pair",
    [
        b"",
        b"ana",
        b":",
        b"ana@exemplu.ro:",
        b"u:\xba\xfe",
        b"ana@exemplu.ro:arh1_x_y",
        b"\xff:\xff",
    ],
)
def test_credentials_that_are_wrong_or_broken_are_a_challenge(world: World, pair: bytes) -> None:
    world.sql("DELETE FROM throttle")
    value = "Basic " + base64.b64encode(pair).decode()
    for header in (value, "Basic ???", "Bearer x", "Basic"):
        assert world.ask("OPTIONS", "/", Authorization=header).status == 401


def test_a_password_works_for_its_own_person_until_it_is_revoked(world: World) -> None:
    stolen = base64.b64encode(f"bogdan@exemplu.ro:{world.passwords['ana']}".encode()).decode()
    assert world.ask("OPTIONS", "/", Authorization=f"Basic {stolen}").status == 401
    world.sql("UPDATE drive_password SET revoked_at = created_at WHERE account = 7")
    assert world.ask("OPTIONS", "/", "privitor").status == 401
    world.sql("UPDATE drive_password SET revoked_at = NULL WHERE account = 7")
    assert world.ask("OPTIONS", "/", "privitor").status == 200
    world.sql("UPDATE account SET disabled_at = created_at WHERE id = 7")
    assert world.ask("OPTIONS", "/", "privitor").status == 401
    world.sql("UPDATE account SET disabled_at = NULL WHERE id = 7")


def test_credentials_are_checked_before_the_body(world: World) -> None:
    with socket.create_connection(("127.0.0.1", world.port), timeout=10) as raw:
        raw.sendall(b"PROPFIND / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 401")


def test_wrong_passwords_are_throttled_and_the_right_one_still_opens(world: World) -> None:
    world.sql("DELETE FROM throttle")
    wrong = "Basic " + base64.b64encode(b"ana@exemplu.ro:wrong").decode()
    codes = [world.ask("OPTIONS", "/", Authorization=wrong).status for _ in range(25)]
    assert codes[0] == 401
    assert codes[-1] == 429
    assert world.ask("OPTIONS", "/", "ana").status == 200
    world.sql("DELETE FROM throttle")


def test_a_header_that_stands_there_twice_is_refused(world: World) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", world.port, timeout=10)) as connection:
        connection.putrequest("PROPFIND", "/")
        for name, value in world.authorization("ana").items():
            connection.putheader(name, value)
        connection.putheader("Depth", "0")
        connection.putheader("Depth", "1")
        connection.endheaders()
        assert connection.getresponse().status == 400


def test_the_log_holds_no_password_and_no_traceback(world: World) -> None:
    world.ask("OPTIONS", "/", Authorization="Basic " + base64.b64encode(b"a:s3cret").decode())
    log = (world.settings.data_dir / "dav.log").read_text()
    assert "s3cret" not in log
    assert "arh1_" not in log
    assert "Traceback" not in log
