"""The archive on disk: whole or absent, written once, whatever stops the writer."""

from __future__ import annotations

import errno
import os
import re
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from appliance.core.chain import canonical
from appliance.core.errors import ArchiveConflict, BadInput, Busy, NotFound
from appliance.store.files import Archive, Folder

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
CLIENT, MONTH, UID = "alfa", "2026/11", "doc-1"
FILES = {
    "message.zip": b"PK" + bytes(range(256)) * 40,
    "invoice.xml": "<Invoice>ș</Invoice>".encode(),
    "signature.xml": b"<Signature/>",
    "anexa.pdf": b"%PDF-1.7",
}
FACTS = {"v": 1, "uid": UID, "number": "F 1"}


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "archive")


def write(archive: Archive) -> dict[str, object]:
    return archive.write_document(CLIENT, MONTH, UID, FILES, FACTS)


def content(archive: Archive) -> dict[str, bytes] | None:
    """Return what stands in the document's folder, `None` when there is no such folder."""
    folder = archive.root / CLIENT / MONTH / UID
    if not folder.exists():
        return None
    return {path.name: path.read_bytes() for path in folder.iterdir()}


WHOLE = {**FILES, "manifest.json": canonical(FACTS)}


def leftovers(archive: Archive) -> list[Path]:
    return [path for path in archive.root.rglob("*") if path.name.startswith(".tmp-")]


def test_what_was_written_is_read_back_with_its_manifest(archive: Archive) -> None:
    assert write(archive) == FACTS
    assert content(archive) == WHOLE
    assert archive.read_manifest(CLIENT, MONTH, UID) == FACTS
    with archive.open_file(CLIENT, MONTH, UID, "invoice.xml") as file:
        assert file.read() == FILES["invoice.xml"]
    assert list(archive.folders()) == [Folder(CLIENT, MONTH, UID)]
    assert list(archive.strays()) == []


@pytest.mark.parametrize("umask", [0o000, 0o027, 0o077, 0o777])
def test_modes_are_the_archives_own_under_any_umask(archive: Archive, umask: int) -> None:
    before = os.umask(umask)
    try:
        write(archive)
        archive.write_derived(CLIENT, MONTH, UID, "invoice.pdf", b"%PDF")
        archive.write_decisions("2026-11-24.jsonl", b"{}\n")
    finally:
        os.umask(before)
    for path in archive.root.rglob("*"):
        wanted = 0o2750 if path.is_dir() else 0o440
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_writing_the_same_again_changes_nothing(archive: Archive) -> None:
    write(archive)
    before = {path: path.stat().st_mtime_ns for path in archive.root.rglob("*")}
    assert write(archive) == FACTS
    assert {path: path.stat().st_mtime_ns for path in archive.root.rglob("*")} == before


def test_a_repeated_ingest_gets_the_facts_that_were_first_written(archive: Archive) -> None:
    write(archive)
    again = archive.write_document(CLIENT, MONTH, UID, FILES, {**FACTS, "number": "F-1"})
    assert again == FACTS
    assert content(archive) == WHOLE


@pytest.mark.parametrize(
    "other",
    [
        {**FILES, "invoice.xml": b"<Invoice/>"},
        {**FILES, "more.pdf": b"x"},
        {"message.zip": FILES["message.zip"]},
    ],
    ids=["other bytes", "one more", "fewer"],
)
def test_other_content_under_the_same_uid_is_refused_and_the_first_copy_stays(
    archive: Archive, other: dict[str, bytes]
) -> None:
    write(archive)
    with pytest.raises(ArchiveConflict, match="the first copy stays"):
        archive.write_document(CLIENT, MONTH, UID, other, FACTS)
    assert content(archive) == WHOLE
    assert leftovers(archive) == []


def test_a_file_in_place_of_the_folder_is_a_conflict_and_no_error(archive: Archive) -> None:
    (archive.root / CLIENT / MONTH).mkdir(parents=True)
    (archive.root / CLIENT / MONTH / UID).write_bytes(b"stray")
    with pytest.raises(ArchiveConflict):
        write(archive)


def test_eight_writers_at_once_leave_one_whole_folder(archive: Archive) -> None:
    start = threading.Barrier(8)
    failures: list[BaseException] = []

    def run() -> None:
        start.wait()
        try:
            write(archive)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert content(archive) == WHOLE
    assert leftovers(archive) == []


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "/etc/passwd", "a\\b", "x\0y", "x\ny", ".hidden", "a" * 201],
)
def test_a_name_that_leaves_the_folder_is_refused(archive: Archive, name: str) -> None:
    write(archive)
    with pytest.raises(BadInput):
        archive.write_document(CLIENT, MONTH, "doc-2", {name: b"x"}, FACTS)
    with pytest.raises(BadInput):
        archive.open_file(CLIENT, MONTH, UID, name)
    assert content(archive) == WHOLE
    assert not (archive.root / CLIENT / MONTH / "doc-2").exists()


@pytest.mark.parametrize("name", ["manifest.json", "invoice.pdf"])
def test_names_that_the_archive_gives_itself_cannot_be_brought_along(
    archive: Archive, name: str
) -> None:
    with pytest.raises(BadInput):
        archive.write_document(CLIENT, MONTH, UID, {name: b"x"}, FACTS)


@pytest.mark.parametrize(
    ("client", "month", "uid"),
    [
        ("..", MONTH, UID),
        ("", MONTH, UID),
        ("decisions", MONTH, UID),
        ("quarantine", MONTH, UID),
        (CLIENT, "2026/13", UID),
        (CLIENT, "2026-11", UID),
        (CLIENT, "../..", UID),
        (CLIENT, MONTH, "../doc"),
        (CLIENT, MONTH, "DOC"),
        (CLIENT, MONTH, ".tmp-x"),
    ],
)
def test_a_place_outside_the_scheme_is_refused(
    archive: Archive, client: str, month: str, uid: str
) -> None:
    with pytest.raises(BadInput):
        archive.write_document(client, month, uid, FILES, FACTS)
    with pytest.raises(BadInput):
        archive.open_file(client, month, uid, "invoice.xml")


def test_no_symbolic_link_is_followed_when_reading(archive: Archive, tmp_path: Path) -> None:
    write(archive)
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "invoice.xml").write_bytes(b"not yours")
    folder = archive.root / CLIENT / MONTH
    (folder / "linked").symlink_to(secret)
    (folder / UID / "link.xml").symlink_to(secret / "invoice.xml")
    (archive.root / "beta").symlink_to(archive.root / CLIENT)
    os.mkfifo(folder / UID / "pipe")
    for client, uid, name in [
        (CLIENT, "linked", "invoice.xml"),
        (CLIENT, UID, "link.xml"),
        ("beta", UID, "invoice.xml"),
        (CLIENT, UID, "pipe"),
        (CLIENT, UID, "absent.xml"),
        (CLIENT, "absent", "invoice.xml"),
    ]:
        with pytest.raises(NotFound):
            archive.open_file(client, MONTH, uid, name)


@pytest.mark.parametrize("damage", [b"", b"[1]", b"\xff", b"[" * 90_000])
def test_a_damaged_manifest_is_a_sentence(archive: Archive, damage: bytes) -> None:
    write(archive)
    manifest = archive.root / CLIENT / MONTH / UID / "manifest.json"
    manifest.chmod(0o640)
    manifest.write_bytes(damage)
    with pytest.raises(BadInput, match="restore the folder from a backup"):
        archive.read_manifest(CLIENT, MONTH, UID)


def test_a_derived_file_is_replaced_whole_and_an_original_never(archive: Archive) -> None:
    write(archive)
    archive.write_derived(CLIENT, MONTH, UID, "invoice.pdf", b"%PDF first")
    with archive.open_file(CLIENT, MONTH, UID, "invoice.pdf") as reader:
        size, sha256 = archive.write_derived(CLIENT, MONTH, UID, "invoice.pdf", b"%PDF second")
        assert reader.read() == b"%PDF first"
    assert content(archive) == {**WHOLE, "invoice.pdf": b"%PDF second"}
    assert (size, len(sha256)) == (11, 64)
    with pytest.raises(BadInput):
        archive.write_derived(CLIENT, MONTH, UID, "invoice.xml", b"<Invoice/>")
    with pytest.raises(NotFound):
        archive.write_derived(CLIENT, MONTH, "doc-9", "invoice.pdf", b"%PDF")
    # A document that has its PDF is still the same document.
    assert write(archive) == FACTS


def test_many_attachments_need_no_more_open_files(archive: Archive) -> None:
    many = {f"anexa-{number}.txt": b"x" for number in range(120)}

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
        archive.write_document(CLIENT, MONTH, UID, many, FACTS)

    assert in_a_child(work) == 0
    assert content(archive) == {**many, "manifest.json": canonical(FACTS)}


def test_quarantine_keeps_the_zip_apart_from_every_client(archive: Archive) -> None:
    archive.quarantine("message-1", b"PK", {"cif": "123"})
    archive.quarantine("message-1", b"PK", {"cif": "123"})
    assert (archive.root / "quarantine" / "message-1" / "message.zip").read_bytes() == b"PK"
    assert list(archive.folders()) == []
    with pytest.raises(ArchiveConflict):
        archive.quarantine("message-1", b"PK other", {})


def test_sweep_removes_what_a_killed_writer_left_and_disturbs_no_other(archive: Archive) -> None:
    write(archive)
    month = archive.root / CLIENT / MONTH
    for name, age in [("old", timedelta(hours=2)), ("new", timedelta(minutes=5))]:
        left = month / f".tmp-{name}-0"
        left.mkdir()
        (left / "message.zip").write_bytes(b"PK")
        stamp = (NOW - age).timestamp()
        os.utime(left, (stamp, stamp))
    (month / ".tmp-pdf-1").write_bytes(b"%PDF")
    os.utime(month / ".tmp-pdf-1", (0, 0))
    assert archive.sweep(NOW) == [month / ".tmp-old-0", month / ".tmp-pdf-1"]
    assert leftovers(archive) == [month / ".tmp-new-0"]
    assert content(archive) == WHOLE


# Faults. Every call of the operating system that the writer makes is counted;
# the n-th one kills the process or fails, for n = 1, 2, … until none is left.

CALLS = ("open", "write", "fsync", "fchmod", "chmod", "mkdir", "rename", "close", "replace")


def with_fault(monkeypatch: pytest.MonkeyPatch, number: int, fault: Callable[[], None]) -> None:
    """Let the `number`-th counted call run `fault` before it is made."""
    made = 0

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            nonlocal made
            made += 1
            if made == number:
                fault()
            return real(*arguments, **named)

        return call

    for name in CALLS:
        monkeypatch.setattr(os, name, counted(getattr(os, name)))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_a_child(work: Callable[[], object]) -> int:
    """Run `work` in a forked process and return its wait status."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitpid(child, 0)[1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_writer_killed_before_any_of_its_calls_leaves_the_folder_whole_or_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = []
    for number in range(1, 200):
        archive = Archive(tmp_path / str(number))

        def work(archive: Archive = archive, number: int = number) -> None:
            with_fault(monkeypatch, number, die)
            write(archive)

        status = in_a_child(work)
        found = content(archive)
        assert found in (None, WHOLE), f"half a folder when killed at call {number}"
        states.append(found is not None)
        write(archive)
        assert content(archive) == WHOLE
        archive.sweep(datetime.now(UTC) + timedelta(hours=2))
        assert leftovers(archive) == []
        if status == 0:
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
    # Absent until the rename, whole ever after, and both were seen.
    assert states == sorted(states)
    assert states.count(False) > 20
    assert states.count(True) > 3


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_pdf_writer_killed_before_any_of_its_calls_leaves_the_old_or_the_new_one(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(archive)
    old, new = b"%PDF old" * 9, b"%PDF new" * 99
    for number in range(1, 60):
        archive.write_derived(CLIENT, MONTH, UID, "invoice.pdf", old)

        def work(number: int = number) -> None:
            with_fault(monkeypatch, number, die)
            archive.write_derived(CLIENT, MONTH, UID, "invoice.pdf", new)

        status = in_a_child(work)
        assert content(archive) in ({**WHOLE, "invoice.pdf": pdf} for pdf in (old, new))
        if status == 0:
            break
    assert number > 6
    assert content(archive) == {**WHOLE, "invoice.pdf": new}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.EPERM])
def test_a_call_that_fails_is_one_sentence_and_nothing_is_left_behind(
    tmp_path: Path, code: int
) -> None:
    def fail() -> None:
        raise OSError(code, os.strerror(code))

    told: list[str] = []
    for number in range(1, 200):
        archive = Archive(tmp_path / str(number))
        with pytest.MonkeyPatch.context() as patch:
            with_fault(patch, number, fail)
            try:
                write(archive)
            except Busy as error:
                told.append(error.sentence.ro)
            except PermissionError:
                told.append("ours")
            else:
                break
        assert content(archive) in (None, WHOLE)
        assert leftovers(archive) == [], f"call {number}"
        write(archive)
        assert content(archive) == WHOLE
    assert len(told) > 20
    (sentence,) = set(told)
    assert ("Discul" in sentence) == (code != errno.EPERM)


def test_a_limit_on_the_size_of_files_is_busy_and_nothing_is_left(archive: Archive) -> None:
    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        with suppress(Busy):
            write(archive)
            os._exit(2)
        os._exit(0 if content(archive) is None and not leftovers(archive) else 3)

    assert os.waitstatus_to_exitcode(in_a_child(work)) == 0
    write(archive)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount 96 kB of real disk; only root can."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=96k,mode=0755", "arhivar-test", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_is_really_full_is_a_sentence_and_keeps_what_it_had(small_disk: Path) -> None:
    archive = Archive(small_disk / "archive")
    write(archive)
    refused: list[Busy] = []
    for number in range(2, 20):
        uid = f"doc-{number}"
        try:
            archive.write_document(CLIENT, MONTH, uid, {"message.zip": bytes(30_000)}, FACTS)
        except Busy as error:
            refused.append(error)
            assert not (archive.root / CLIENT / MONTH / uid).exists()
        assert leftovers(archive) == []
    assert len(refused) > 10
    assert all("este plin" in error.sentence.ro for error in refused)
    assert all("is full" in error.sentence.en for error in refused)
    assert content(archive) == WHOLE


def of_fd(line: str, call: str) -> str | None:
    """Return the path behind the descriptor that the traced call was made on."""
    found = re.match(rf"{call}\(\d+<([^>]*)>", line)
    return found.group(1) if found else None


def test_every_byte_is_on_the_disk_before_its_name_and_the_name_before_the_return(
    tmp_path: Path,
) -> None:
    """Told by the kernel: write, fsync of each file, of their folder, rename, fsync of the month.

    A file system may keep a rename and lose the bytes of what was renamed; no
    test that kills a process can show it, because the kernel lives on.
    """
    archive, log = Archive(tmp_path.resolve() / "archive"), tmp_path / "calls"
    calls = "openat,write,fchmod,fsync,fdatasync,rename,renameat,renameat2"
    subprocess.run(
        ["strace", "-f", "-qq", "-y", "-s", "0", "-o", str(log), "-e", f"trace={calls}",
         sys.executable, "-B", "-c", WRITER, str(archive.root)],
        check=True, capture_output=True,
    )  # fmt: skip
    assert content(archive) == WHOLE
    # "<pid> call(…) = result"
    lines = [line.split(maxsplit=1)[1] for line in log.read_text().splitlines()]
    month = archive.root / CLIENT / MONTH
    [renamed] = [number for number, line in enumerate(lines) if line.startswith("rename")]
    temporary, final = re.findall(r'"([^"]*)"', lines[renamed])
    assert Path(temporary).parent == month
    assert final == str(month / UID)

    def last(call: str, path: str) -> int:
        numbers = [number for number, line in enumerate(lines) if of_fd(line, call) == path]
        assert numbers, f"no {call} of {path}"
        return numbers[-1]

    for name in WHOLE:
        path = f"{temporary}/{name}"
        assert last("write", path) < last("fsync", path) < renamed, name
        assert last("fchmod", path) < last("fsync", path), name
    files = max(last("fsync", f"{temporary}/{name}") for name in WHOLE)
    assert files < last("fsync", temporary) < renamed < last("fsync", str(month))
    # Above the document: each folder's name lasts because its parent was fsynced.
    for made in (archive.root, archive.root / CLIENT, month.parent, month):
        assert last("fsync", str(made.parent)) >= 0, made


WRITER = """
import sys
from pathlib import Path
from tests.store.test_files import Archive, write
write(Archive(Path(sys.argv[1])))
"""


@pytest.mark.full
@pytest.mark.parametrize("call", ["mkdir", "chmod", "fchmod", "write", "fsync", "rename"])
@pytest.mark.parametrize("fault", ["signal=KILL", "error=ENOSPC", "error=EIO"])
def test_every_real_call_killed_or_failed_by_strace(tmp_path: Path, call: str, fault: str) -> None:
    """The same enumeration by another hand: the kernel's own calls, not Python's."""
    hits = 0
    for number in range(1, 60):
        archive = Archive(tmp_path / str(number))
        calls = {"mkdir": "mkdir,mkdirat", "rename": "rename,renameat,renameat2"}.get(call, call)
        calls = {"chmod": "chmod,fchmodat"}.get(call, calls)
        run = subprocess.run(
            ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}",
             "-e", f"inject={calls}:{fault}:when={number}",
             sys.executable, "-B", "-c", WRITER, str(archive.root)],
            capture_output=True,
        )  # fmt: skip
        found = content(archive)
        assert found in (None, WHOLE)
        if fault != "signal=KILL":
            assert leftovers(archive) == []
        write(archive)
        assert content(archive) == WHOLE
        if run.returncode == 0:
            break
        hits += 1
    assert hits >= 1
