"""What a secret shows: nothing."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback

import pytest

from appliance.vault.secret import Secret

CANARY = "canary-7f3a"


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        lambda secret: f"{secret}",
        lambda secret: f"{secret!r:>40}",
        lambda secret: f"{secret:s}",
        lambda secret: "%s %r" % (secret, secret),  # noqa: UP031
        lambda secret: "{}".format(secret),  # noqa: UP032
        lambda secret: str([secret, {"k": secret}]),
        lambda secret: json.dumps({"k": secret}, default=str),
    ],
)
def test_a_secret_is_shown_as_stars(show: object) -> None:
    text = show(Secret(CANARY))  # type: ignore[operator]
    assert "Secret(***)" in text
    assert CANARY not in text


@pytest.mark.parametrize(
    "write",
    [pickle.dumps, copy.copy, copy.deepcopy, json.dumps, vars, dict, list, len, bytes],
)
def test_a_secret_is_not_written_down(write: object) -> None:
    with pytest.raises(TypeError) as caught:
        write(Secret(CANARY))  # type: ignore[operator]
    assert CANARY not in str(caught.value)


def test_a_secret_is_not_in_a_log_record_or_traceback(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret(CANARY)
    logging.getLogger("x").error("refused %s", secret)
    try:
        raise ValueError(secret)
    except ValueError as error:
        text = "".join(
            traceback.TracebackException.from_exception(error, capture_locals=True).format()
        )
    assert CANARY not in caplog.text
    # The line of the constructor's argument is a name here, so its text is not in the source.
    assert CANARY not in text.replace(f"CANARY = {CANARY!r}", "")


def test_secrets_compare_by_value_and_are_no_keys() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert Secret(CANARY).reveal() == CANARY
    assert not Secret("")
    with pytest.raises(TypeError):
        hash(Secret("a"))
