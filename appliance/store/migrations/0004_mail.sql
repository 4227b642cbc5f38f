-- The outbox of mail, and what sync last learned of the SPV authorisations.

CREATE TABLE mail (                          -- written with what causes it, sent by sync
    id INTEGER PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,                -- also its Message-ID
    cause TEXT NOT NULL UNIQUE,              -- what it tells of, and whom: told once
    recipient TEXT NOT NULL,                 -- one address
    language TEXT NOT NULL,
    subject TEXT NOT NULL,
    text TEXT NOT NULL,                      -- empty when it was settled long ago
    state TEXT NOT NULL,                     -- queued, sent, refused, withdrawn
    problem TEXT,                            -- a Sentence as JSON: why it waits, or was refused
    created_at TEXT NOT NULL,
    settled_at TEXT
);
CREATE INDEX mail_state ON mail (state, settled_at);

CREATE TABLE spv_grant (                     -- as the vault's GET /arhivar/standing last told
    grant_uid TEXT PRIMARY KEY NOT NULL,
    holder TEXT NOT NULL,                    -- of the certificate, as a person typed it; or empty
    state TEXT NOT NULL,                     -- active, needs_authorisation
    requested_by TEXT NOT NULL,              -- uid of the account that authorised
    issued_at TEXT NOT NULL,
    access_expires_at TEXT NOT NULL,         -- until then SPV is read, whatever the state
    refresh_expires_at TEXT NOT NULL,
    cifs TEXT NOT NULL,                      -- JSON list: those that people gave to it
    seen_at TEXT NOT NULL
) WITHOUT ROWID;
