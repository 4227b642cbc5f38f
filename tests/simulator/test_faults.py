"""What goes wrong on request: each kind as a client meets it, and which calls it strikes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from appliance.cli import cli
from appliance.core import anaf_zip, certificates, signature
from appliance.core.errors import BadInput
from appliance.simulator import Limits, rules
from appliance.simulator.faults import FAULTS
from appliance.simulator.state import WINDOW
from tests.simulator.calls import exchange
from tests.support.simulator import NOON, Clock, Running, running_simulator

API = "/prod/FCTEL/rest"


@pytest.fixture
def spv_server(clock: Clock) -> Iterator[Running]:
    limits = Limits(page_size=10, calls_per_minute=0, downloads_per_message=0)
    with running_simulator(invoices=60, clock=clock, limits=limits) as running:
        yield running


@pytest.fixture
def client(spv_server: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=spv_server.url, headers=spv_server.headers, timeout=30) as opened:
        yield opened


def arm(client: httpx.Client, **rule: Any) -> None:
    answer = client.post("/simulator/faults", json=rule)
    assert answer.status_code == 200, answer.text


def disarm(client: httpx.Client) -> None:
    client.post("/simulator/faults", json={})


def cif_of(client: httpx.Client) -> str:
    return str(client.get("/simulator").json()["cifs"][0])


def page(client: httpx.Client, number: int, cif: str = "") -> httpx.Response:
    millis = int(NOON.timestamp() * 1000)
    return client.get(
        f"{API}/listaMesajePaginatieFactura",
        params={
            "startTime": millis - 59 * 86_400_000,
            "endTime": millis,
            "cif": cif or cif_of(client),
            "pagina": number,
        },
    )


def pages(client: httpx.Client) -> list[dict[str, Any]]:
    """What a client gets that reads page after page until the numbers say that it has all."""
    found: list[dict[str, Any]] = []
    while not found or len(found) < found[-1]["numar_total_pagini"]:
        found.append(page(client, len(found) + 1).json())
    return found


def ids(answers: list[dict[str, Any]]) -> list[str | None]:
    return [entry.get("id") for answer in answers for entry in answer["mesaje"]]


def messages(client: httpx.Client) -> list[str]:
    return [str(entry) for entry in ids(pages(client))]


def download(client: httpx.Client, message_id: str) -> httpx.Response:
    return client.get(f"{API}/descarcare", params={"id": message_id})


# Each kind


def test_every_kind_changes_what_a_client_gets(client: httpx.Client, spv_server: Running) -> None:
    wanted = messages(client)[0]
    good = {
        "descarcare": download(client, wanted),
        "lista": page(client, 2),
    }
    for kind, fault in FAULTS.items():
        arm(client, kind=kind, seconds=0.01)
        path = fault.path or "descarcare"
        try:
            answer = download(client, wanted) if path == "descarcare" else page(client, 2)
        except httpx.TransportError:
            assert kind == "cut"
            continue
        before = good[path]
        # those of time are about time; those of JSON and of the first page have tests below
        if kind in ("late", "slow", "invalid_json", "nameless_entry", "foreign_entry"):
            continue
        assert (answer.status_code, answer.headers["content-type"], answer.content) != (
            before.status_code,
            before.headers["content-type"],
            before.content,
        ), kind
    struck = client.get("/simulator").json()["struck"]
    assert struck == dict.fromkeys(FAULTS, 1)
    assert download(client, wanted).content == good["descarcare"].content


@pytest.mark.parametrize(
    ("kind", "result", "reason"),
    [
        ("tampered", "invalid", "digest_mismatch"),
        ("other_signature", "invalid", "digest_mismatch"),
        ("unknown_certificate", "valid_unknown_certificate", "unknown_certificate"),
        ("test_form", "valid", "ok"),
        ("one_member", "absent", "no_signature"),
        ("extra_member", "valid", "ok"),
        ("other_id", "valid", "ok"),
    ],
)
def test_signatures_are_wrong_in_the_way_that_was_asked_for(
    client: httpx.Client, spv_server: Running, kind: str, result: str, reason: str
) -> None:
    own = certificates.from_pem(spv_server.simulator.certificate)
    arm(client, kind=kind)
    package = anaf_zip.read_zip(download(client, messages(client)[0]).content)

    verdict = signature.verify(
        package.document, package.signature, pinned={own.fingerprint: own}, at=None
    )

    assert (verdict.result.value, verdict.reason) == (result, reason)


def test_the_test_form_is_right_for_every_document_of_the_generator(
    client: httpx.Client, spv_server: Running
) -> None:
    own = certificates.from_pem(spv_server.simulator.certificate)
    arm(client, kind="test_form", probability=1)
    forms = Counter()
    for message_id in messages(client):
        package = anaf_zip.read_zip(download(client, message_id).content)
        assert package.signature is not None
        verdict = signature.verify(
            package.document, package.signature, pinned={own.fingerprint: own}, at=None
        )
        assert verdict.result is signature.SignatureResult.VALID, message_id
        forms[b"enveloped-signature" in package.signature] += 1
    assert forms[True] > 20


def test_a_wrong_checksum_is_noticed(client: httpx.Client) -> None:
    arm(client, kind="bad_crc")
    with pytest.raises(anaf_zip.ZipRefused):
        anaf_zip.read_zip(download(client, messages(client)[0]).content)


def test_members_can_be_named_after_another_upload(client: httpx.Client) -> None:
    wanted = page(client, 1).json()["mesaje"][0]
    arm(client, kind="other_id")
    package = anaf_zip.read_zip(download(client, wanted["id"]).content)
    assert package.document_name == f"{int(wanted['id_solicitare']) + 1}.xml"


def test_429_comes_with_and_without_retry_after(client: httpx.Client) -> None:
    arm(client, kind="too_many")
    arm(client, kind="too_many_retry", seconds=7)
    first, second = page(client, 1), page(client, 1)
    assert (first.status_code, first.headers.get("retry-after")) == (429, None)
    assert (second.status_code, second.headers.get("retry-after")) == (429, "7")


def test_a_slow_body_comes_in_pieces_and_whole(client: httpx.Client) -> None:
    wanted = messages(client)[0]
    good = download(client, wanted).content
    arm(client, kind="slow", seconds=0.3)
    with client.stream("GET", f"{API}/descarcare", params={"id": wanted}) as answer:
        pieces = list(answer.iter_raw())
    assert len(pieces) > 3
    assert b"".join(pieces) == good


def test_a_late_answer_can_be_given_up(client: httpx.Client) -> None:
    wanted = messages(client)[0]
    arm(client, kind="late", seconds=600)
    with pytest.raises(httpx.ReadTimeout):
        client.get(f"{API}/descarcare", params={"id": wanted}, timeout=httpx.Timeout(9, read=0.2))
    assert download(client, wanted).content[:2] == b"PK"


def test_json_may_have_a_brace_too_many(client: httpx.Client) -> None:
    arm(client, kind="invalid_json", path="lista")
    body = page(client, 1).content
    assert body.endswith(b"}}")
    assert json.loads(body[:-1])["mesaje"]


def test_an_entry_more_is_in_the_totals_and_on_the_first_page(client: httpx.Client) -> None:
    plain = pages(client)
    total = plain[0]["numar_total_inregistrari"]
    for kind in ("nameless_entry", "foreign_entry"):
        arm(client, kind=kind, probability=1)
        found = pages(client)
        assert {answer["numar_total_inregistrari"] for answer in found} == {total + 1}
        assert len(ids(found)) == total + 1
        more = found[0]["mesaje"][-1]
        assert ("id" in more, more["cif"] == cif_of(client)) == (
            (False, True) if kind == "nameless_entry" else (True, False)
        )
        disarm(client)


def test_the_first_page_may_end_the_next(client: httpx.Client) -> None:
    plain = messages(client)
    arm(client, kind="repeated", probability=1)
    found = ids(pages(client))
    assert sorted(set(plain)) == sorted(set(map(str, found)))
    again = [message_id for message_id, count in Counter(found).items() if count > 1]
    assert again == [plain[place] for place in range(9, len(plain) - 1, 10)]


def test_the_number_of_pages_may_grow_while_they_are_read(client: httpx.Client) -> None:
    plain = pages(client)
    assert len(plain) >= 3
    arm(client, kind="growing", probability=1)
    found = pages(client)
    assert [answer["numar_total_pagini"] for answer in found] == [
        min(number + 1, len(plain)) for number in range(1, len(plain) + 1)
    ]
    assert ids(found) == ids(plain)


def test_a_list_may_suddenly_have_nothing_or_little(client: httpx.Client) -> None:
    plain = pages(client)
    arm(client, kind="nothing")
    assert page(client, 1).json()["eroare"] == "Nu exista mesaje in intervalul selectat"
    arm(client, kind="few")
    (answer,) = pages(client)
    assert ids([answer]) == ids(plain)[:1]


def test_what_a_change_does_not_fit_stays_as_it_is(client: httpx.Client) -> None:
    for kind in ("truncated", "other_signature", "numbers", "growing"):
        arm(client, kind=kind, path="descarcare")
        answer = download(client, "1")
        assert answer.json()["eroare"].startswith("Pentru id=1 nu exista"), kind


# Which calls


def test_only_what_a_rule_is_about_is_struck(client: httpx.Client, spv_server: Running) -> None:
    first, second = spv_server.about["cifs"][:2]
    own = [m.id for m in spv_server.simulator.state.messages.values() if m.cif == second]
    arm(client, kind="empty", cif=second, times=5)
    assert page(client, 1, first).content
    assert not page(client, 1, second).content
    # a download says no CIF: it is the message's
    assert not download(client, own[0]).content
    disarm(client)
    arm(client, kind="empty", path="descarcare", id=f"{own[1]}|{own[2]}", times=5)
    assert [bool(download(client, message).content) for message in own[:4]] == [
        True, False, False, True,
    ]  # fmt: skip


def test_the_nth_call_and_the_nth_try_are_counted_apart(client: httpx.Client) -> None:
    first, second, third = messages(client)[:3]
    arm(client, kind="empty", path="descarcare", nth=[2, 4])
    tried = [bool(download(client, m).content) for m in (first, second, third, first, second)]
    assert tried == [True, False, True, False, True]
    disarm(client)
    arm(client, kind="empty", path="descarcare", attempt=1)
    tried = [bool(download(client, m).content) for m in (first, second, first, second, third)]
    assert tried == [False, False, True, True, False]


def test_chance_depends_on_the_seed_and_not_on_the_order() -> None:
    def struck(seed: str, order: list[int]) -> set[tuple[int, int]]:
        rule = rules.rule({"kind": "waf", "probability": "0.2"}, given=NOON, seed=seed)
        found = set()
        for attempt in (1, 2):
            for number in order:
                if rule.strikes(rules.Call("/prod/descarcare", id=str(number)), NOON):
                    found.add((number, attempt))
        return found

    forwards, backwards = list(range(500)), list(range(499, -1, -1))
    assert struck("1", forwards) == struck("1", backwards)
    assert struck("1", forwards) != struck("2", forwards)
    assert 140 < len(struck("1", forwards)) < 260


def test_an_outage_begins_and_ends_by_the_clock(client: httpx.Client, clock: Clock) -> None:
    arm(client, kind="bad_gateway", since=60, until=600)
    seen = []
    for seconds in (0, 59, 1, 300, 239, 1):
        clock.advance(seconds=seconds)
        seen.append(page(client, 1).status_code)
    assert seen == [200, 200, 502, 502, 502, 200]


def test_oauth_is_struck_only_when_its_path_is_named(
    client: httpx.Client, spv_server: Running
) -> None:
    about = spv_server.about
    form = {
        "grant_type": "refresh_token",
        "refresh_token": about["refresh_token"],
        "token_content_type": "jwt",
    }
    credentials = (about["client_id"], about["client_secret"])

    def refresh() -> int:
        return client.post("/anaf-oauth2/v1/token", data=form, auth=credentials).status_code

    arm(client, kind="bad_gateway", times=9)
    assert page(client, 1).status_code == 502
    arm(client, kind="bad_gateway", path="oauth2/v1/token")
    assert refresh() == 502
    assert refresh() == 200  # ANAF did not hear of the first


@pytest.mark.parametrize(
    "wanted",
    [
        {"kind": "wave"},
        {},
        {"kind": "waf", "chance": 1},
        {"kind": "waf", "path": "("},
        {"kind": "waf", "nth": "often"},
    ],
)
def test_a_rule_that_means_nothing_is_refused(wanted: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="fault"):
        rules.rule(wanted, given=NOON, seed="1")


def test_a_script_is_a_file_or_a_rule(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text('[{"kind": "waf", "nth": [1, 3]}, {"kind": "cut"}]')
    assert rules.script([str(path), "kind=late,seconds=2"]) == [
        {"kind": "waf", "nth": [1, 3]},
        {"kind": "cut"},
        {"kind": "late", "seconds": "2"},
    ]
    for bad in ("waf", "kind=waf,often", str(tmp_path), "kind=nonsense"):
        with pytest.raises(BadInput):
            rules.script([bad])
    path.write_text("[3]")
    with pytest.raises(BadInput):
        rules.script([str(path)])
    with pytest.raises(BadInput, match="no file has this name"):
        rules.script(["missing.json"])


def test_an_error_of_the_token_endpoint_can_repeat_what_it_was_sent(
    client: httpx.Client, spv_server: Running
) -> None:
    about = spv_server.about
    arm(client, kind="echo", path="token")

    refused = exchange(
        client, about, grant_type="refresh_token", refresh_token=about["refresh_token"]
    )

    assert refused.status_code == 400
    assert refused.json()["error"] == "invalid_grant"
    assert about["refresh_token"] in refused.json()["error_description"]


def test_the_command_explains_every_kind_and_every_condition() -> None:
    help_page = CliRunner().invoke(cli, ["simulator", "--help"]).output
    words = set(help_page.replace(",", " ").replace(":", " ").split())
    assert set(FAULTS) - words == set()
    assert set(rules.KEYS) - words == set()


# Rights, indexing, quotas


def test_a_right_can_end_at_a_moment(client: httpx.Client, clock: Clock) -> None:
    first, second, third = client.get("/simulator").json()["cifs"]
    client.post("/simulator/rights", json={"cifs": [first, third], "after": 90})
    own = page(client, 1, second).json()["mesaje"][0]["id"]
    clock.advance(seconds=89)
    assert page(client, 1, second).json()["mesaje"]
    clock.advance(seconds=1)
    assert page(client, 1, second).json()["eroare"] == f"Nu aveti drept in SPV pentru CIF={second}"
    assert download(client, own).json()["eroare"] == (
        "Nu aveti dreptul sa descarcati acesta factura"
    )
    assert page(client, 1, first).json()["cui"] == f"{first},{third}"


def test_a_late_index_lists_each_message_at_its_own_time(
    client: httpx.Client, clock: Clock, spv_server: Running
) -> None:
    cif = cif_of(client)
    state = spv_server.simulator.state
    before = len(state.listed(cif, NOON - WINDOW, NOON, ""))
    client.post("/simulator/indexing", json={"minutes": 15})
    client.post("/simulator/messages", json={"cif": cif, "count": 40})
    counts = []
    for _ in range(17):
        counts.append(len(state.listed(cif, NOON - WINDOW, NOON, "")) - before)
        clock.advance(minutes=1)
    assert counts[0] < 5
    assert counts == sorted(counts)
    assert counts[-1] == 40
    assert len(set(counts)) > 8


def test_late_indexing_holds_for_the_messages_of_the_start_too() -> None:
    with running_simulator(
        invoices=400, clock=(clock := Clock()), lateness=timedelta(minutes=15)
    ) as running:
        state = running.simulator.state
        for cif in running.about["cifs"]:
            for message in state.listed(cif, NOON - WINDOW, NOON, ""):
                assert message.visible is not None
                assert message.created <= message.visible <= clock.now
        clock.advance(minutes=15)
        listed = sum(
            len(state.listed(cif, clock.now - WINDOW, clock.now, ""))
            for cif in running.about["cifs"]
        )
        assert listed == len(state.messages)


def test_without_limits_nothing_is_counted(clock: Clock) -> None:
    with (
        running_simulator(invoices=4, clock=clock, limits=Limits.none()) as running,
        httpx.Client(base_url=running.url, headers=running.headers) as client,
    ):
        wanted = next(iter(running.simulator.state.messages))
        assert {download(client, wanted).content[:2] for _ in range(12)} == {b"PK"}
        assert running.simulator.state._counters == {}
