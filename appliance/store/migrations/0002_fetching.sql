-- Fetching that is complete and fair: turns, listings, runs, outages, alerts,
-- certificates that an administrator trusts, imports.

ALTER TABLE client ADD COLUMN fetch_every_hours INTEGER; -- NULL: as sync.fetch_every_hours says

-- Whose turn a job takes, so that one client's thousands do not hold up the others.
ALTER TABLE job ADD COLUMN client INTEGER REFERENCES client (id);
ALTER TABLE job ADD COLUMN turn BIGINT NOT NULL DEFAULT 0; -- among equal priorities lower first
DROP INDEX job_due;
CREATE INDEX job_due ON job (state, kind, priority DESC, turn, id, next_attempt_at);
CREATE INDEX job_when ON job (state, kind, next_attempt_at);
CREATE INDEX job_client ON job (client, kind, state, turn) WHERE client IS NOT NULL;

CREATE INDEX message_created ON message (client, created_at);

CREATE TABLE listing (                       -- what the last listing of a CIF gave
    id INTEGER PRIMARY KEY,
    client INTEGER NOT NULL REFERENCES client (id),
    cif TEXT NOT NULL,
    tried_at TEXT NOT NULL,
    done_at TEXT,                            -- of the last answer that was whole
    listed INTEGER NOT NULL DEFAULT 0,       -- in that answer
    new INTEGER NOT NULL DEFAULT 0,
    missing INTEGER NOT NULL DEFAULT 0,      -- known, young enough to be listed, and not listed
    strangers INTEGER NOT NULL DEFAULT 0,    -- entries of companies that are no clients
    problem TEXT,                            -- a Sentence as JSON: why the last try gave nothing
    UNIQUE (client, cif)
);

CREATE TABLE fetch_run (                     -- one fetching that somebody watches, or the night's
    id INTEGER PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,
    client INTEGER NOT NULL REFERENCES client (id),
    asked_by INTEGER REFERENCES account (id), -- NULL: the schedule or the command line
    started_at TEXT NOT NULL,
    listed_at TEXT,                          -- its listing ended
    listed INTEGER NOT NULL DEFAULT 0,
    new INTEGER NOT NULL DEFAULT 0,
    problem TEXT,                            -- a Sentence as JSON
    finished_at TEXT                         -- nothing of it is on its way any more
);
CREATE UNIQUE INDEX fetch_run_open ON fetch_run (client) WHERE finished_at IS NULL;
CREATE INDEX fetch_run_client ON fetch_run (client, started_at);

CREATE TABLE outage (                        -- ANAF does not answer: since when, and when we ask again
    id INTEGER PRIMARY KEY,
    host TEXT NOT NULL,                      -- api
    since TEXT NOT NULL,
    failures INTEGER NOT NULL,
    next_try_at TEXT NOT NULL,
    problem TEXT NOT NULL,                   -- a Sentence as JSON
    ended_at TEXT
);
CREATE UNIQUE INDEX outage_open ON outage (host) WHERE ended_at IS NULL;

CREATE TABLE alert (                         -- told once, not once a retry
    id INTEGER PRIMARY KEY,
    client INTEGER REFERENCES client (id),
    kind TEXT NOT NULL,                      -- expiring, token, listing, outage
    object TEXT NOT NULL,                    -- what it is about: a message's uid, a CIF
    level INTEGER NOT NULL,                  -- for expiring: 14, 7 or 3 days left
    raised_at TEXT NOT NULL,
    ended_at TEXT
);
CREATE UNIQUE INDEX alert_open ON alert (kind, object, level) WHERE ended_at IS NULL;
CREATE INDEX alert_client ON alert (client) WHERE ended_at IS NULL;

CREATE TABLE certificate (                   -- signing certificates trusted beside those shipped
    id INTEGER PRIMARY KEY,
    fingerprint TEXT NOT NULL UNIQUE,        -- SHA-256, hex
    subject TEXT NOT NULL,
    not_before TEXT NOT NULL,
    not_after TEXT NOT NULL,
    pem TEXT NOT NULL,
    added_by INTEGER REFERENCES account (id), -- NULL: the command line
    added_at TEXT NOT NULL
);
CREATE INDEX document_unknown_certificate ON document (signature_fingerprint, id)
    WHERE signature_result = 'valid_unknown_certificate';

CREATE TABLE import_run (                    -- one import: what was handed in, as what
    id INTEGER PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,
    client INTEGER REFERENCES client (id),   -- NULL: each file's own CIF says whose it is
    account INTEGER REFERENCES account (id), -- NULL: the command line
    source TEXT NOT NULL,                    -- the folder or file name it came from
    status TEXT NOT NULL,                    -- pending, approved or archived: chosen once
    created_at TEXT NOT NULL,
    finished_at TEXT
);
CREATE TABLE import_item (
    id INTEGER PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,                -- also of the document or notice it becomes
    run INTEGER NOT NULL REFERENCES import_run (id),
    client INTEGER REFERENCES client (id),
    name TEXT NOT NULL,                      -- its path below what was handed in
    sha256 TEXT NOT NULL,
    state TEXT NOT NULL,                     -- queued, archived, notice, duplicate, refused, quarantined
    same_as TEXT,                            -- uid of the document that it is a copy of
    problem TEXT,                            -- a Sentence as JSON
    settled_at TEXT
);
CREATE INDEX import_item_run ON import_item (run, state);
CREATE INDEX document_file_invoice ON document_file (sha256) WHERE role IN ('invoice', 'original');
