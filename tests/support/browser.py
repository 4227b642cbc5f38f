"""Debian's Chromium, driven as a person would: by the words on the page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, sync_playwright

PHONE = {"width": 360, "height": 740}
DESK = {"width": 1440, "height": 900}


@contextmanager
def chromium(viewport: dict[str, int] = PHONE, *, scripts: bool = True) -> Iterator[Page]:
    """Give one page of a fresh profile; what its console calls an error fails the test."""
    executable = shutil.which("chromium")
    assert executable, "chromium is missing; `sh scripts/setup.sh test` installs it"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable,
            args=[
                "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
            ],
        )  # fmt: skip
        context = browser.new_context(
            viewport={"width": viewport["width"], "height": viewport["height"]},
            java_script_enabled=scripts,
            locale="ro-RO",
        )
        page = context.new_page()
        errors: list[str] = []
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        try:
            yield page
            assert not errors, errors
        finally:
            browser.close()


def log_in(page: Page, portal: str, email: str, password: str) -> None:
    """Type e-mail and password; the first page of the person is open when this returns."""
    page.goto(f"{portal}/login")
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Parolă").fill(password)
    page.get_by_role("button", name="Intră").click()
    page.wait_for_url(lambda url: "/login" not in url)
