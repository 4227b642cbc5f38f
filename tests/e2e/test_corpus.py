"""Real documents, through every process: each archived with a PDF, or shown with a reason."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from pathlib import Path

import pikepdf

from tests.support.demo import Demo

_ROOT = re.compile(rb"<(?:[A-Za-z0-9_.-]+:)?(Invoice|CreditNote)[\s>/]")


def _served(corpus: Path) -> dict[str, Path]:
    """The UBL files and ANAF zips of the corpus by the hash of the invoice inside."""
    found: dict[str, Path] = {}
    for path in sorted(corpus.rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                data = next(
                    archive.read(name)
                    for name in archive.namelist()
                    if not name.startswith("semnatura")
                )
        elif path.suffix.lower() != ".xml" or not _is_ubl(data):
            continue
        found[hashlib.sha256(data).hexdigest()] = path
    return found


def _is_ubl(data: bytes) -> bool:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        data = data.decode("utf-16").encode()
    return bool(_ROOT.search(data))


def test_every_real_document_is_archived_with_a_pdf_or_shown_with_a_reason(
    corpus: Path, tmp_path: Path
) -> None:
    served = _served(corpus)
    demo = Demo(tmp_path / "data", invoices=10, documents=corpus)
    try:
        demo.start()
        demo.settled(seconds=300)
        filed: dict[str, list[Path]] = {}
        for manifest in (demo.data / "archive").glob("*/*/*/*/manifest.json"):
            for file in json.loads(manifest.read_text())["files"]:
                if file["role"] in ("invoice", "original"):
                    filed.setdefault(file["sha256"], []).append(manifest.parent)
        assert set(served) <= set(filed)

        with_pdf = with_reason = notices = 0
        for digest in served:
            for folder in filed[digest]:
                facts = json.loads((folder / "manifest.json").read_text())
                if "notice" in facts:
                    assert facts["notice"]["text"], folder
                    notices += 1
                elif facts["document"]["problem"]:
                    assert facts["document"]["problem"]["ro"].endswith("."), folder
                    with_reason += 1
                else:
                    with pikepdf.open(folder / "invoice.pdf") as pdf:
                        assert len(pdf.pages) >= 1
                    with_pdf += 1
        print(
            f"{len(served)} files: {with_pdf} with a PDF, {with_reason} with a reason, "
            f"{notices} notices"
        )
        assert with_pdf > 150
        assert demo.arhivar("check", "--deep").stdout == "rows and files agree\n"
        for name in ("vault", "sync", "web", "dav"):
            assert "Traceback" not in demo.log(name), demo.log(name)
            assert len(demo.pids(name)) == 1
        assert "starting it again" not in demo.output()
        assert demo.stop() == 0
    finally:
        demo.kill_everything()
