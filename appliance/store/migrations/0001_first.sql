-- The first schema. Moments are UTC text of fixed width (core/times.py), dates
-- yyyy-mm-dd, money integer minor units, other decimals text.

CREATE TABLE setting (
    name TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
);

CREATE TABLE firm (
    id INTEGER PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    created_at TEXT NOT NULL
);

CREATE TABLE account (
    id INTEGER PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,
    email TEXT NOT NULL,
    email_key TEXT NOT NULL UNIQUE,          -- casefolded: the key for log-in and throttling
    name TEXT NOT NULL,
    language TEXT NOT NULL DEFAULT 'ro',
    password_hash TEXT,                      -- argon2id PHC; NULL until activated
    firm_role TEXT,                          -- admin, accountant or NULL
    auth_epoch INTEGER NOT NULL DEFAULT 0,   -- raised: every session of the account dies
    disabled_at TEXT,
    created_at TEXT NOT NULL
);

CREATE TABLE client (
    id INTEGER PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    folder_name TEXT NOT NULL,               -- its folder on the drive, at most 40 characters
    folder_key TEXT NOT NULL UNIQUE,         -- casefolded
    provisional INTEGER NOT NULL DEFAULT 0,  -- 1: no identifier is known yet
    created_at TEXT NOT NULL
);

CREATE TABLE client_identifier (
    id INTEGER PRIMARY KEY,
    client INTEGER NOT NULL REFERENCES client (id),
    scheme TEXT NOT NULL,                    -- cui, cnp or vat (a foreign VAT identifier)
    value TEXT NOT NULL UNIQUE,              -- as core.cif normalises it; of one client only
    valid_from TEXT,
    confirmed_at TEXT
);
CREATE INDEX client_identifier_client ON client_identifier (client);

CREATE TABLE member (
    id INTEGER PRIMARY KEY,
    account INTEGER NOT NULL REFERENCES account (id),
    client INTEGER NOT NULL REFERENCES client (id),
    role TEXT NOT NULL,                      -- owner, approver, contributor or viewer
    scope_kinds TEXT,                        -- JSON list of kinds, NULL: all
    scope_suppliers TEXT,                    -- JSON list of partner CIFs, NULL: all
    approval_limit_minor BIGINT,             -- bani, NULL: none
    created_at TEXT NOT NULL,
    UNIQUE (account, client)
);
CREATE INDEX member_client ON member (client);

CREATE TABLE assignment (                    -- an accountant's clients
    id INTEGER PRIMARY KEY,
    account INTEGER NOT NULL REFERENCES account (id),
    client INTEGER NOT NULL REFERENCES client (id),
    UNIQUE (account, client)
);
CREATE INDEX assignment_client ON assignment (client);

CREATE TABLE session (
    id INTEGER PRIMARY KEY,
    token_hash TEXT NOT NULL UNIQUE,         -- SHA-256("session" || id), hex; the id is nowhere
    account INTEGER NOT NULL REFERENCES account (id),
    level INTEGER NOT NULL,                  -- 1 password only, 2 full
    auth_epoch INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    seen_at TEXT NOT NULL,
    sudo_until TEXT,
    address TEXT NOT NULL,                   -- /24 or /48
    agent TEXT NOT NULL
);
CREATE INDEX session_account ON session (account, seen_at);

CREATE TABLE link_token (                    -- activation, invitation, reset
    id INTEGER PRIMARY KEY,
    token_hash TEXT NOT NULL UNIQUE,
    purpose TEXT NOT NULL,
    account INTEGER NOT NULL REFERENCES account (id),
    email TEXT NOT NULL,                     -- the account's at issue
    auth_epoch INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    used_at TEXT
);
CREATE INDEX link_token_account ON link_token (account, purpose);

CREATE TABLE drive_password (                -- one device's app password
    id INTEGER PRIMARY KEY,
    public_id TEXT NOT NULL UNIQUE,          -- the part of the password that names this row
    secret_hash TEXT NOT NULL,               -- HMAC-SHA256(drive key, secret), hex
    account INTEGER NOT NULL REFERENCES account (id),
    device TEXT NOT NULL,                    -- its name as the person gave it
    read_only INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    last_used_on TEXT,                       -- a date
    revoked_at TEXT
);
CREATE INDEX drive_password_account ON drive_password (account);

CREATE TABLE throttle (                      -- failures of one subject in one window
    key TEXT PRIMARY KEY NOT NULL,           -- kind:seconds:subject, e.g. login:300:ana@example.ro
    window_start TEXT NOT NULL,
    failures INTEGER NOT NULL,
    strikes INTEGER NOT NULL DEFAULT 0,      -- how often in a row it was blocked: doubles the next
    blocked_until TEXT
);

CREATE TABLE message (                       -- an entry of the SPV message list
    id INTEGER PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,                -- also of the document or notice it becomes
    client INTEGER NOT NULL REFERENCES client (id),
    message_id TEXT NOT NULL,                -- ANAF's id (download id)
    upload_id TEXT,                          -- ANAF's id_solicitare
    cif TEXT NOT NULL,                       -- the CIF it was listed for
    type TEXT NOT NULL,                      -- tip, raw
    details TEXT NOT NULL,                   -- detalii, raw
    created_raw TEXT NOT NULL,               -- data_creare, raw: Europe/Bucharest wall time
    created_at TEXT,                         -- the same in UTC, NULL when it cannot be read
    entry TEXT NOT NULL,                     -- the whole entry as JSON, nothing of it is lost
    state TEXT NOT NULL,                     -- queued, archived, notice, expired, not_allowed, quarantined
    problem TEXT,                            -- a Sentence as JSON
    listed_at TEXT NOT NULL,
    settled_at TEXT,
    UNIQUE (client, message_id)
);
CREATE INDEX message_state ON message (client, state);
CREATE INDEX message_any_client ON message (state);
CREATE INDEX message_upload ON message (upload_id);

CREATE TABLE document (
    id INTEGER PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,
    client INTEGER NOT NULL REFERENCES client (id),
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    revision INTEGER NOT NULL DEFAULT 1,
    source TEXT NOT NULL,                    -- spv, upload, drive, import
    type TEXT NOT NULL,                      -- invoice, credit_note, supporting, unreadable
    message INTEGER REFERENCES message (id),
    uploader INTEGER REFERENCES account (id),
    number TEXT,                             -- BT-1
    issue_date TEXT,                         -- BT-2
    due_date TEXT,                           -- BT-9
    tax_point_date TEXT,                     -- BT-7
    list_date TEXT NOT NULL                  -- lists are sorted by it
        GENERATED ALWAYS AS (COALESCE(issue_date, substr(received_at, 1, 10))) VIRTUAL,
    received_at TEXT NOT NULL,
    supplier_name TEXT,                      -- BT-27
    supplier_cif TEXT,
    customer_name TEXT,                      -- BT-44
    customer_cif TEXT,
    partner_name TEXT,                       -- the one of both that is not the client
    partner_cif TEXT,
    currency TEXT,                           -- BT-5
    payable_minor BIGINT,                    -- BT-115, sign as in the XML
    signed_minor BIGINT,                     -- credit note negated
    ron_minor BIGINT,                        -- signed; NULL: unknown in RON
    tax_minor BIGINT,                        -- BT-110
    summary TEXT,                            -- what for: the first line's name
    folder_name TEXT NOT NULL,
    folder_key TEXT NOT NULL,                -- casefolded
    archive_month TEXT NOT NULL,             -- yyyy/mm of receipt: where the bytes are
    period TEXT,                             -- yyyy-mm, set by record
    taken_at TEXT,
    taken_by INTEGER REFERENCES account (id),
    alias_path TEXT,                         -- where a MOVE put it, below the client's folder
    alias_until TEXT,
    signature_result TEXT NOT NULL,          -- valid, valid_unknown_certificate, invalid, absent
    signature_reason TEXT NOT NULL,          -- a code of core.signature
    signature_fingerprint TEXT,              -- SHA-256 of the certificate, hex
    warnings TEXT NOT NULL DEFAULT '[]',     -- JSON list of codes
    problem TEXT,                            -- a Sentence as JSON: why it is "de verificat manual"
    changed_at TEXT NOT NULL,                -- of the row; drives and caches ask for it
    UNIQUE (client, folder_key)
);
-- Lists are read newest first from one of these four; the trailing columns let a
-- filter pass over an entry without reading its row.
CREATE INDEX document_list ON document
    (client, status, list_date DESC, id DESC, kind, partner_cif, uploader);
CREATE INDEX document_all ON document
    (client, list_date DESC, id DESC, status, kind, partner_cif, uploader);
CREATE INDEX document_status ON document (status, list_date DESC, id DESC, client, kind);
CREATE INDEX document_partner ON document
    (client, partner_cif, list_date DESC, id DESC, status, kind, uploader);
-- All that the drive shows of a folder's members, so that no row is read for it.
CREATE INDEX document_folder ON document
    (client, status, kind, period, folder_name, uid, changed_at, received_at);
CREATE INDEX document_oldest ON document (client, status, received_at);
CREATE INDEX document_number ON document (client, kind, partner_cif, number);
CREATE INDEX document_message ON document (message) WHERE message IS NOT NULL;

CREATE TABLE folder (                        -- what each folder holds; kept by the triggers below
    client INTEGER NOT NULL,
    status TEXT NOT NULL,
    kind TEXT NOT NULL,
    period TEXT NOT NULL,                    -- '' while a document has none
    documents INTEGER NOT NULL,
    version INTEGER NOT NULL,                -- raised by every change of what the folder shows
    PRIMARY KEY (client, status, kind, period)
) WITHOUT ROWID;
CREATE TRIGGER document_enters AFTER INSERT ON document BEGIN
    INSERT INTO folder (client, status, kind, period, documents, version)
    VALUES (NEW.client, NEW.status, NEW.kind, COALESCE(NEW.period, ''), 1, 1)
    ON CONFLICT DO UPDATE SET documents = documents + 1, version = version + 1;
END;
CREATE TRIGGER document_leaves AFTER DELETE ON document BEGIN
    UPDATE folder SET documents = documents - 1, version = version + 1
    WHERE client = OLD.client AND status = OLD.status AND kind = OLD.kind
        AND period = COALESCE(OLD.period, '');
END;
CREATE TRIGGER document_changes AFTER UPDATE ON document BEGIN
    UPDATE folder SET documents = documents - 1, version = version + 1
    WHERE client = OLD.client AND status = OLD.status AND kind = OLD.kind
        AND period = COALESCE(OLD.period, '');
    INSERT INTO folder (client, status, kind, period, documents, version)
    VALUES (NEW.client, NEW.status, NEW.kind, COALESCE(NEW.period, ''), 1, 1)
    ON CONFLICT DO UPDATE SET documents = documents + 1, version = version + 1;
END;

CREATE TABLE document_line (
    id INTEGER PRIMARY KEY,
    document INTEGER NOT NULL REFERENCES document (id),
    position INTEGER NOT NULL,
    line_id TEXT,                            -- BT-126
    name TEXT,                               -- BT-153
    description TEXT,                        -- BT-154
    seller_item_id TEXT,                     -- BT-155
    standard_item_id TEXT,                   -- BT-157
    classification TEXT,                     -- BT-158, JSON list of {scheme, code}
    quantity TEXT,                           -- BT-129, decimal text
    unit TEXT,                               -- BT-130
    price TEXT,                              -- BT-146, decimal text
    net_minor BIGINT,                        -- BT-131
    vat_category TEXT,                       -- BT-151
    vat_rate TEXT,                           -- BT-152, decimal text
    UNIQUE (document, position)
);

CREATE TABLE document_file (
    id INTEGER PRIMARY KEY,
    document INTEGER NOT NULL REFERENCES document (id),
    role TEXT NOT NULL,                      -- zip, invoice, signature, attachment, manifest, pdf, original
    stored_name TEXT NOT NULL,               -- in the document's archive folder
    shown_name TEXT,                         -- on the drive; NULL: not shown there
    shown_key TEXT,                          -- casefolded
    mime TEXT NOT NULL,
    size BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    created_at TEXT NOT NULL,
    UNIQUE (document, stored_name),
    UNIQUE (document, shown_key)
);

CREATE TABLE event (                         -- the life of a document, one row a step
    id INTEGER PRIMARY KEY,
    document INTEGER NOT NULL REFERENCES document (id),
    at TEXT NOT NULL,
    action TEXT NOT NULL,                    -- ingest, an Action, take, correct
    old_status TEXT,
    new_status TEXT NOT NULL,
    revision INTEGER NOT NULL,
    account INTEGER REFERENCES account (id), -- NULL: the system or a rule
    channel TEXT NOT NULL,                   -- spv, portal, drive, import, reindex
    device TEXT,
    reason TEXT,
    period TEXT
);
CREATE INDEX event_document ON event (document, id);
CREATE INDEX event_at ON event (at);

CREATE TABLE notice (                        -- an ANAF error or buyer message: no status
    id INTEGER PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,
    client INTEGER NOT NULL REFERENCES client (id),
    message INTEGER NOT NULL REFERENCES message (id),
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
CREATE INDEX notice_period ON notice (client, period, folder_key);
CREATE INDEX notice_alert ON notice (client)
    WHERE acknowledged_client_at IS NULL OR acknowledged_firm_at IS NULL;

CREATE TABLE notice_file (
    id INTEGER PRIMARY KEY,
    notice INTEGER NOT NULL REFERENCES notice (id),
    role TEXT NOT NULL,
    stored_name TEXT NOT NULL,
    shown_name TEXT,
    shown_key TEXT,
    mime TEXT NOT NULL,
    size BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    created_at TEXT NOT NULL,
    UNIQUE (notice, stored_name),
    UNIQUE (notice, shown_key)
);

CREATE TABLE closed_period (
    id INTEGER PRIMARY KEY,
    client INTEGER NOT NULL REFERENCES client (id),
    period TEXT NOT NULL,                    -- yyyy-mm
    closed_at TEXT NOT NULL,
    closed_by INTEGER REFERENCES account (id),
    UNIQUE (client, period)
);

CREATE TABLE job (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,                      -- list, message, render, decisions
    object_uid TEXT NOT NULL,                -- client, message or document
    state TEXT NOT NULL,                     -- queued, leased, done, parked
    priority INTEGER NOT NULL DEFAULT 0,     -- higher first
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt_at TEXT NOT NULL,
    lease_until TEXT,
    problem TEXT,                            -- a Sentence as JSON: why it waits or is parked
    created_at TEXT NOT NULL,
    finished_at TEXT
);
-- Two people who ask for the same thing get the same job.
CREATE UNIQUE INDEX job_open ON job (kind, object_uid) WHERE state IN ('queued', 'leased');
CREATE INDEX job_due ON job (state, kind, priority DESC, next_attempt_at);
CREATE INDEX job_object ON job (kind, object_uid, created_at);

CREATE TABLE audit (                         -- append-only hash chain (store/audit.py)
    seq INTEGER PRIMARY KEY,
    body BLOB NOT NULL,
    head BLOB NOT NULL
);
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN
    SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN
    SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE TRIGGER audit_no_gap BEFORE INSERT ON audit
    WHEN NEW.seq <> (SELECT COALESCE(MAX(seq), 0) + 1 FROM audit) BEGIN
    SELECT RAISE(ABORT, 'audit has no gaps'); END;
