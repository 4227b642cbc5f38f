-- Fetching that is complete and fair: turns, listings, runs, outages, alerts,
-- certificates that an administrator trusts, imports.

ALTER TABLE client ADD COLUMN fetch_every_hours INTEGER; -- NULL: as sync.fetch_every_hours says

-- Whose turn a job takes, so that one client's thousands do not hold up the others.
ALTER TABLE job ADD COLUMN client INTEGER REFERENCES client (id);
-- Among equal priorities lower first; 0: deferred, or nobody's; -1: held with all of its client.
ALTER TABLE job ADD COLUMN turn BIGINT NOT NULL DEFAULT 0;
-- 1: waits for next_attempt_at. Due jobs are found without looking at those that wait.
ALTER TABLE job ADD COLUMN deferred INTEGER NOT NULL DEFAULT 0;
UPDATE job SET deferred = 1 WHERE state = 'queued';
UPDATE job SET client = (SELECT client FROM message WHERE uid = job.object_uid)
    WHERE kind = 'message' AND state IN ('queued', 'leased');
UPDATE job SET client = (SELECT id FROM client WHERE uid = job.object_uid)
    WHERE kind = 'list' AND state IN ('queued', 'leased');
DROP INDEX job_due;
CREATE INDEX job_due ON job (kind, priority DESC, turn) WHERE state = 'queued' AND deferred = 0;
CREATE INDEX job_deferred ON job (kind, next_attempt_at) WHERE state = 'queued' AND deferred = 1;
CREATE INDEX job_client ON job (client, kind, priority, turn) WHERE state = 'queued';
CREATE INDEX job_leased ON job (lease_until) WHERE state = 'leased';
CREATE INDEX job_done ON job (finished_at) WHERE state = 'done';
CREATE INDEX job_parked ON job (kind) WHERE state = 'parked';

CREATE INDEX message_created ON message (client, created_at);
-- Also when they were settled: a run counts what it settled, and nothing else is read for it.
DROP INDEX message_state;
CREATE INDEX message_state ON message (client, state, settled_at);

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
    problem TEXT,                            -- a Sentence as JSON: what was wrong with the last try
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
    host TEXT NOT NULL,                      -- api, vault
    since TEXT NOT NULL,
    failures INTEGER NOT NULL,
    about TEXT NOT NULL,                     -- JSON: the first different ones that failed
    probes INTEGER NOT NULL,                 -- how often it was asked again
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
    WHERE signature_reason = 'unknown_certificate';
CREATE TABLE certificate_total (             -- how many documents it signed; kept by the triggers below
    fingerprint TEXT NOT NULL,
    reason TEXT NOT NULL,                    -- signature_reason of those documents
    number INTEGER NOT NULL,
    first_at TEXT NOT NULL,                  -- receipt of the first and the last that ever were among them
    last_at TEXT NOT NULL,
    PRIMARY KEY (fingerprint, reason)
) WITHOUT ROWID;
INSERT INTO certificate_total (fingerprint, reason, number, first_at, last_at)
    SELECT signature_fingerprint, signature_reason, COUNT(*), MIN(received_at), MAX(received_at)
    FROM document WHERE signature_fingerprint IS NOT NULL GROUP BY 1, 2;
CREATE TRIGGER certificate_enters AFTER INSERT ON document
WHEN NEW.signature_fingerprint IS NOT NULL BEGIN
    INSERT INTO certificate_total (fingerprint, reason, number, first_at, last_at)
    VALUES (NEW.signature_fingerprint, NEW.signature_reason, 1, NEW.received_at, NEW.received_at)
    ON CONFLICT DO UPDATE SET number = number + 1,
        first_at = MIN(first_at, excluded.first_at), last_at = MAX(last_at, excluded.last_at);
END;
CREATE TRIGGER certificate_leaves AFTER DELETE ON document
WHEN OLD.signature_fingerprint IS NOT NULL BEGIN
    UPDATE certificate_total SET number = number - 1
    WHERE fingerprint = OLD.signature_fingerprint AND reason = OLD.signature_reason;
END;
CREATE TRIGGER certificate_changes
AFTER UPDATE OF signature_fingerprint, signature_reason ON document BEGIN
    UPDATE certificate_total SET number = number - 1
    WHERE fingerprint = OLD.signature_fingerprint AND reason = OLD.signature_reason;
    INSERT INTO certificate_total (fingerprint, reason, number, first_at, last_at)
    SELECT NEW.signature_fingerprint, NEW.signature_reason, 1, NEW.received_at, NEW.received_at
    WHERE NEW.signature_fingerprint IS NOT NULL
    ON CONFLICT DO UPDATE SET number = number + 1,
        first_at = MIN(first_at, excluded.first_at), last_at = MAX(last_at, excluded.last_at);
END;

CREATE TABLE import_run (                    -- one import: what was handed in, as what
    id INTEGER PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,
    client INTEGER REFERENCES client (id),   -- NULL: each file's own CIF says whose it is
    account INTEGER REFERENCES account (id), -- NULL: the command line
    source TEXT NOT NULL,                    -- the folder or file name it came from
    status TEXT NOT NULL,                    -- pending, approved or archived: chosen once
    ignored INTEGER NOT NULL DEFAULT 0,      -- files that no invoice is in: PDF, pictures
    created_at TEXT NOT NULL,
    handed_in_at TEXT,                       -- nothing comes after it but what zips hold
    finished_at TEXT
);
CREATE INDEX import_run_client ON import_run (client, id);
CREATE TABLE import_item (
    id INTEGER PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,                -- also of the document or notice it becomes
    run INTEGER NOT NULL REFERENCES import_run (id),
    client INTEGER REFERENCES client (id),
    name TEXT NOT NULL,                      -- its path below what was handed in
    sha256 TEXT NOT NULL,                    -- of what was handed in; of what a zip held: empty
    about TEXT NOT NULL DEFAULT '{}',        -- JSON: what the earlier tool noted of it
    depth INTEGER NOT NULL DEFAULT 0,        -- in how many zips it lay
    state TEXT NOT NULL,                     -- queued, opened, archived, notice, duplicate, refused
    claim TEXT,                              -- the invoice's SHA-256, of who files it
    upload_id TEXT,
    same_as TEXT,                            -- uid of what it is a copy of
    problem TEXT,                            -- a Sentence as JSON
    settled_at TEXT
);
CREATE INDEX import_item_run ON import_item (run, state);
CREATE UNIQUE INDEX import_claim ON import_item (client, claim) WHERE claim IS NOT NULL;
CREATE INDEX import_upload ON import_item (client, upload_id) WHERE upload_id IS NOT NULL;
CREATE INDEX document_file_invoice ON document_file (sha256) WHERE role IN ('invoice', 'original');
CREATE INDEX notice_file_original ON notice_file (sha256) WHERE role = 'original';

-- Duplicates are found by it: the same number of the same supplier.
DROP INDEX document_number;
CREATE INDEX document_number ON document (client, kind, number, supplier_cif);

CREATE TABLE notice_new (                    -- as before, but an import has no message
    id INTEGER PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,
    client INTEGER NOT NULL REFERENCES client (id),
    message INTEGER REFERENCES message (id),
    type TEXT NOT NULL,                      -- anaf_error, buyer_message, unknown
    upload_id TEXT,
    text TEXT NOT NULL,
    folder_name TEXT NOT NULL,
    folder_key TEXT NOT NULL,
    period TEXT NOT NULL,                    -- yyyy-mm of receipt; it is filed under Altele
    archive_month TEXT NOT NULL,
    created_at TEXT NOT NULL,
    acknowledged_client_at TEXT,
    acknowledged_client_by INTEGER REFERENCES account (id),
    acknowledged_firm_at TEXT,
    acknowledged_firm_by INTEGER REFERENCES account (id),
    UNIQUE (client, folder_key)
);
INSERT INTO notice_new SELECT * FROM notice;
DROP TABLE notice;
ALTER TABLE notice_new RENAME TO notice;
CREATE INDEX notice_period ON notice (client, period, folder_key);
CREATE INDEX notice_alert ON notice (client)
    WHERE acknowledged_client_at IS NULL OR acknowledged_firm_at IS NULL;
CREATE INDEX notice_message ON notice (message) WHERE message IS NOT NULL;

-- When ANAF made a message, as far as we know, and the month of that day in Romania.
ALTER TABLE message ADD COLUMN dated_at TEXT
    GENERATED ALWAYS AS (COALESCE(created_at, listed_at)) VIRTUAL;
ALTER TABLE message ADD COLUMN month TEXT
    GENERATED ALWAYS AS (CASE WHEN created_at IS NULL THEN substr(listed_at, 1, 7)
        ELSE substr(created_raw, 1, 4) || '-' || substr(created_raw, 5, 2) END) VIRTUAL;
DROP INDEX message_state;
CREATE INDEX message_state ON message (client, state, dated_at);
CREATE INDEX message_month ON message (client, month, state);
-- A month's documents: of its messages, and what came otherwise.
DROP INDEX document_message;
CREATE INDEX document_message ON document (message, status, period) WHERE message IS NOT NULL;
CREATE INDEX document_other ON document (client, list_date, status, period, received_at)
    WHERE message IS NULL;

CREATE TABLE month_total (                   -- what each month holds; kept by the triggers below
    client INTEGER NOT NULL,
    month TEXT NOT NULL,                     -- of the message; of list_date for what is no message's
    what TEXT NOT NULL,                      -- message; document (of a message); other (a document)
    state TEXT NOT NULL,                     -- of the message, or status of the document
    number INTEGER NOT NULL,
    PRIMARY KEY (client, month, what, state)
) WITHOUT ROWID;
INSERT INTO month_total (client, month, what, state, number)
    SELECT client, month, 'message', state, COUNT(*) FROM message GROUP BY 1, 2, 4
    UNION ALL SELECT document.client, message.month, 'document', document.status, COUNT(*)
        FROM document JOIN message ON message.id = document.message GROUP BY 1, 2, 4
    UNION ALL SELECT client, substr(list_date, 1, 7), 'other', status, COUNT(*)
        FROM document WHERE message IS NULL GROUP BY 1, 2, 4;
CREATE TRIGGER month_message_enters AFTER INSERT ON message BEGIN
    INSERT INTO month_total (client, month, what, state, number)
    VALUES (NEW.client, NEW.month, 'message', NEW.state, 1)
    ON CONFLICT DO UPDATE SET number = number + 1;
END;
CREATE TRIGGER month_message_leaves AFTER DELETE ON message BEGIN
    UPDATE month_total SET number = number - 1
    WHERE client = OLD.client AND month = OLD.month AND what = 'message' AND state = OLD.state;
END;
CREATE TRIGGER month_message_changes AFTER UPDATE OF state ON message BEGIN -- its day never does
    UPDATE month_total SET number = number - 1
    WHERE client = OLD.client AND month = OLD.month AND what = 'message' AND state = OLD.state;
    INSERT INTO month_total (client, month, what, state, number)
    VALUES (NEW.client, NEW.month, 'message', NEW.state, 1)
    ON CONFLICT DO UPDATE SET number = number + 1;
END;
CREATE TRIGGER month_document_enters AFTER INSERT ON document BEGIN
    INSERT INTO month_total (client, month, what, state, number)
    VALUES (NEW.client,
        COALESCE((SELECT month FROM message WHERE id = NEW.message), substr(NEW.list_date, 1, 7)),
        CASE WHEN NEW.message IS NULL THEN 'other' ELSE 'document' END, NEW.status, 1)
    ON CONFLICT DO UPDATE SET number = number + 1;
END;
CREATE TRIGGER month_document_leaves AFTER DELETE ON document BEGIN
    UPDATE month_total SET number = number - 1
    WHERE client = OLD.client AND state = OLD.status
        AND month = COALESCE(
            (SELECT month FROM message WHERE id = OLD.message), substr(OLD.list_date, 1, 7))
        AND what = CASE WHEN OLD.message IS NULL THEN 'other' ELSE 'document' END;
END;
CREATE TRIGGER month_document_changes
AFTER UPDATE OF client, message, status, issue_date, received_at ON document BEGIN
    UPDATE month_total SET number = number - 1
    WHERE client = OLD.client AND state = OLD.status
        AND month = COALESCE(
            (SELECT month FROM message WHERE id = OLD.message), substr(OLD.list_date, 1, 7))
        AND what = CASE WHEN OLD.message IS NULL THEN 'other' ELSE 'document' END;
    INSERT INTO month_total (client, month, what, state, number)
    VALUES (NEW.client,
        COALESCE((SELECT month FROM message WHERE id = NEW.message), substr(NEW.list_date, 1, 7)),
        CASE WHEN NEW.message IS NULL THEN 'other' ELSE 'document' END, NEW.status, 1)
    ON CONFLICT DO UPDATE SET number = number + 1;
END;
