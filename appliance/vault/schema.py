"""The tables of vault.db, and how an older file becomes today's."""

from __future__ import annotations

SCHEMA = 2

TABLES = """
CREATE TABLE installation (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    uid BLOB NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
CREATE TABLE kek (                        -- every key that ever sealed here
    key_id BLOB PRIMARY KEY,
    created_at TEXT NOT NULL
) STRICT;
CREATE TABLE record (                     -- format: vault/envelope.py
    subject BLOB NOT NULL,
    purpose INTEGER NOT NULL,
    version INTEGER NOT NULL,
    body BLOB NOT NULL,
    sealed_at TEXT NOT NULL,
    PRIMARY KEY (subject, purpose)
) STRICT;
CREATE TABLE record_high (
    subject BLOB NOT NULL,
    purpose INTEGER NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (subject, purpose)
) STRICT;
CREATE TABLE application (                -- what ANAF calls the registered application
    id INTEGER PRIMARY KEY CHECK (id = 1),
    client_id TEXT NOT NULL,
    redirect_uri TEXT NOT NULL,
    changed_at TEXT NOT NULL
) STRICT;
CREATE TABLE spv_grant (
    uid TEXT PRIMARY KEY,                 -- 32 hex digits
    serial TEXT NOT NULL,                 -- of the holder's certificate, hex without colons
    holder TEXT NOT NULL DEFAULT '',      -- whose certificate it is, as a person typed it
    state TEXT NOT NULL CHECK (state IN ('active', 'needs_authorisation', 'revoked')),
    requested_by TEXT NOT NULL,
    created_at TEXT NOT NULL,
    issued_at TEXT NOT NULL,              -- of the current token pair
    access_expires_at TEXT NOT NULL,
    refresh_expires_at TEXT NOT NULL,     -- at the latest; ANAF's sources disagree
    last_used_at TEXT,
    refused_at TEXT,                      -- ANAF refused a refresh first then
    retry_after TEXT                      -- no refresh before
) STRICT;
CREATE TABLE cif_grant (                  -- confirmed by a person, one row each
    cif TEXT NOT NULL,
    grant_uid TEXT NOT NULL REFERENCES spv_grant,
    confirmed_by TEXT NOT NULL,
    confirmed_at TEXT NOT NULL,
    not_allowed_at TEXT,                  -- ANAF said then that the holder has no right
    PRIMARY KEY (cif, grant_uid)
) STRICT;
CREATE TABLE offer (                      -- CIFs that a list answer named
    grant_uid TEXT NOT NULL REFERENCES spv_grant,
    cif TEXT NOT NULL,
    first_seen_at TEXT NOT NULL,
    PRIMARY KEY (grant_uid, cif)
) STRICT;
CREATE TABLE authorisation (              -- waiting for the browser to come back
    state_hash BLOB PRIMARY KEY,
    session_hash BLOB NOT NULL,
    grant_uid TEXT,                       -- NULL: a new one
    requested_by TEXT NOT NULL,
    holder TEXT NOT NULL DEFAULT '',
    about TEXT NOT NULL DEFAULT '',       -- of the portal, given back as it came
    expires_at TEXT NOT NULL
) STRICT;
CREATE TABLE call (at_ms INTEGER NOT NULL) STRICT;
CREATE INDEX call_at ON call (at_ms);
CREATE TABLE quota (
    day TEXT NOT NULL,                    -- in Bucharest
    kind TEXT NOT NULL,
    object TEXT NOT NULL,
    used INTEGER NOT NULL,
    PRIMARY KEY (day, kind, object)
) STRICT, WITHOUT ROWID;
CREATE TABLE pause (                      -- ANAF said 429
    id INTEGER PRIMARY KEY CHECK (id = 1),
    until_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE audit (                      -- core/chain.py
    seq INTEGER PRIMARY KEY,
    body BLOB NOT NULL,
    head BLOB NOT NULL
) STRICT;
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN
    SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN
    SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE TRIGGER audit_no_gap BEFORE INSERT ON audit
    WHEN NEW.seq <> (SELECT COALESCE(MAX(seq), 0) + 1 FROM audit) BEGIN
    SELECT RAISE(ABORT, 'audit has no gaps'); END;
"""

# Each brings a vault.db from the schema before to the one it stands under.
UPGRADES = {
    2: (
        "ALTER TABLE spv_grant ADD COLUMN holder TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE cif_grant ADD COLUMN not_allowed_at TEXT",
        "ALTER TABLE authorisation ADD COLUMN holder TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE authorisation ADD COLUMN about TEXT NOT NULL DEFAULT ''",
    ),
}
