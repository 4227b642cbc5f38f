"""The tables of `arhivar.db` as Piccolo sees them.

The migrations say what a table is; these classes only name its columns for the
query builder, and a test compares both. Computed columns (`document.list_date`,
`message.dated_at` and `month`) and the tables `folder`, `month_total` and
`certificate_total` (kept by triggers) are read with SQL and are not here.
Foreign keys hold the other row's `id`.
"""

from __future__ import annotations

from piccolo.columns import BigInt, ForeignKey, Integer, Serial, Text
from piccolo.columns.column_types import Blob
from piccolo.table import Table

from appliance.store.engine import ENGINE


class Setting(Table, tablename="setting", db=ENGINE):
    name = Text(primary_key=True)
    value = Text()


class Firm(Table, tablename="firm", db=ENGINE):
    id: Serial
    uid = Text()
    name = Text()
    created_at = Text()


class Account(Table, tablename="account", db=ENGINE):
    id: Serial
    uid = Text()
    email = Text()
    email_key = Text()
    name = Text()
    language = Text(default="ro")
    password_hash = Text(default=None, null=True)
    firm_role = Text(default=None, null=True)
    auth_epoch = Integer(default=0)
    disabled_at = Text(default=None, null=True)
    created_at = Text()


class Client(Table, tablename="client", db=ENGINE):
    id: Serial
    uid = Text()
    name = Text()
    folder_name = Text()
    folder_key = Text()
    provisional = Integer(default=0)
    created_at = Text()
    fetch_every_hours = Integer(default=None, null=True)


class ClientIdentifier(Table, tablename="client_identifier", db=ENGINE):
    id: Serial
    client = ForeignKey(Client, null=False)
    scheme = Text()
    value = Text()
    valid_from = Text(default=None, null=True)
    confirmed_at = Text(default=None, null=True)


class Member(Table, tablename="member", db=ENGINE):
    id: Serial
    account = ForeignKey(Account, null=False)
    client = ForeignKey(Client, null=False)
    role = Text()
    scope_kinds = Text(default=None, null=True)
    scope_suppliers = Text(default=None, null=True)
    approval_limit_minor = BigInt(default=None, null=True)
    created_at = Text()


class Assignment(Table, tablename="assignment", db=ENGINE):
    id: Serial
    account = ForeignKey(Account, null=False)
    client = ForeignKey(Client, null=False)


class Session(Table, tablename="session", db=ENGINE):
    id: Serial
    token_hash = Text()
    account = ForeignKey(Account, null=False)
    level = Integer()
    auth_epoch = Integer()
    created_at = Text()
    seen_at = Text()
    sudo_until = Text(default=None, null=True)
    address = Text()
    agent = Text()


class LinkToken(Table, tablename="link_token", db=ENGINE):
    id: Serial
    token_hash = Text()
    purpose = Text()
    account = ForeignKey(Account, null=False)
    email = Text()
    auth_epoch = Integer()
    created_at = Text()
    expires_at = Text()
    used_at = Text(default=None, null=True)


class DrivePassword(Table, tablename="drive_password", db=ENGINE):
    id: Serial
    public_id = Text()
    secret_hash = Text()
    account = ForeignKey(Account, null=False)
    device = Text()
    read_only = Integer(default=0)
    created_at = Text()
    expires_at = Text()
    last_used_on = Text(default=None, null=True)
    revoked_at = Text(default=None, null=True)


class Throttle(Table, tablename="throttle", db=ENGINE):
    key = Text(primary_key=True)
    window_start = Text()
    failures = Integer()
    strikes = Integer(default=0)
    blocked_until = Text(default=None, null=True)


class Message(Table, tablename="message", db=ENGINE):
    id: Serial
    uid = Text()
    client = ForeignKey(Client, null=False)
    message_id = Text()
    upload_id = Text(default=None, null=True)
    cif = Text()
    type = Text()
    details = Text()
    created_raw = Text()
    created_at = Text(default=None, null=True)
    entry = Text()
    state = Text()
    problem = Text(default=None, null=True)
    listed_at = Text()
    settled_at = Text(default=None, null=True)


class Document(Table, tablename="document", db=ENGINE):
    id: Serial
    uid = Text()
    client = ForeignKey(Client, null=False)
    kind = Text()
    status = Text()
    revision = Integer(default=1)
    source = Text()
    type = Text()
    message = ForeignKey(Message, default=None, null=True)
    uploader = ForeignKey(Account, default=None, null=True)
    number = Text(default=None, null=True)
    issue_date = Text(default=None, null=True)
    due_date = Text(default=None, null=True)
    tax_point_date = Text(default=None, null=True)
    received_at = Text()
    supplier_name = Text(default=None, null=True)
    supplier_cif = Text(default=None, null=True)
    customer_name = Text(default=None, null=True)
    customer_cif = Text(default=None, null=True)
    partner_name = Text(default=None, null=True)
    partner_cif = Text(default=None, null=True)
    currency = Text(default=None, null=True)
    payable_minor = BigInt(default=None, null=True)
    signed_minor = BigInt(default=None, null=True)
    ron_minor = BigInt(default=None, null=True)
    tax_minor = BigInt(default=None, null=True)
    summary = Text(default=None, null=True)
    folder_name = Text()
    folder_key = Text()
    archive_month = Text()
    period = Text(default=None, null=True)
    taken_at = Text(default=None, null=True)
    taken_by = ForeignKey(Account, default=None, null=True)
    alias_path = Text(default=None, null=True)
    alias_until = Text(default=None, null=True)
    signature_result = Text()
    signature_reason = Text()
    signature_fingerprint = Text(default=None, null=True)
    warnings = Text(default="[]")
    problem = Text(default=None, null=True)
    changed_at = Text()


class DocumentLine(Table, tablename="document_line", db=ENGINE):
    id: Serial
    document = ForeignKey(Document, null=False)
    position = Integer()
    line_id = Text(default=None, null=True)
    name = Text(default=None, null=True)
    description = Text(default=None, null=True)
    seller_item_id = Text(default=None, null=True)
    standard_item_id = Text(default=None, null=True)
    classification = Text(default=None, null=True)
    quantity = Text(default=None, null=True)
    unit = Text(default=None, null=True)
    price = Text(default=None, null=True)
    net_minor = BigInt(default=None, null=True)
    vat_category = Text(default=None, null=True)
    vat_rate = Text(default=None, null=True)


class DocumentFile(Table, tablename="document_file", db=ENGINE):
    id: Serial
    document = ForeignKey(Document, null=False)
    role = Text()
    stored_name = Text()
    shown_name = Text(default=None, null=True)
    shown_key = Text(default=None, null=True)
    mime = Text()
    size = BigInt()
    sha256 = Text()
    created_at = Text()


class Event(Table, tablename="event", db=ENGINE):
    id: Serial
    document = ForeignKey(Document, null=False)
    at = Text()
    action = Text()
    old_status = Text(default=None, null=True)
    new_status = Text()
    revision = Integer()
    account = ForeignKey(Account, default=None, null=True)
    channel = Text()
    device = Text(default=None, null=True)
    reason = Text(default=None, null=True)
    period = Text(default=None, null=True)


class Notice(Table, tablename="notice", db=ENGINE):
    id: Serial
    uid = Text()
    client = ForeignKey(Client, null=False)
    message = ForeignKey(Message, default=None, null=True)
    type = Text()
    upload_id = Text(default=None, null=True)
    text = Text()
    folder_name = Text()
    folder_key = Text()
    period = Text()
    archive_month = Text()
    created_at = Text()
    acknowledged_client_at = Text(default=None, null=True)
    acknowledged_client_by = ForeignKey(Account, default=None, null=True)
    acknowledged_firm_at = Text(default=None, null=True)
    acknowledged_firm_by = ForeignKey(Account, default=None, null=True)


class NoticeFile(Table, tablename="notice_file", db=ENGINE):
    id: Serial
    notice = ForeignKey(Notice, null=False)
    role = Text()
    stored_name = Text()
    shown_name = Text(default=None, null=True)
    shown_key = Text(default=None, null=True)
    mime = Text()
    size = BigInt()
    sha256 = Text()
    created_at = Text()


class ClosedPeriod(Table, tablename="closed_period", db=ENGINE):
    id: Serial
    client = ForeignKey(Client, null=False)
    period = Text()
    closed_at = Text()
    closed_by = ForeignKey(Account, default=None, null=True)


class Job(Table, tablename="job", db=ENGINE):
    id: Serial
    kind = Text()
    object_uid = Text()
    state = Text()
    priority = Integer(default=0)
    attempts = Integer(default=0)
    next_attempt_at = Text()
    lease_until = Text(default=None, null=True)
    problem = Text(default=None, null=True)
    created_at = Text()
    finished_at = Text(default=None, null=True)
    client = ForeignKey(Client, default=None, null=True)
    turn = BigInt(default=0)
    deferred = Integer(default=0)


class Listing(Table, tablename="listing", db=ENGINE):
    id: Serial
    client = ForeignKey(Client, null=False)
    cif = Text()
    tried_at = Text()
    done_at = Text(default=None, null=True)
    listed = Integer(default=0)
    new = Integer(default=0)
    missing = Integer(default=0)
    strangers = Integer(default=0)
    problem = Text(default=None, null=True)


class FetchRun(Table, tablename="fetch_run", db=ENGINE):
    id: Serial
    uid = Text()
    client = ForeignKey(Client, null=False)
    asked_by = ForeignKey(Account, default=None, null=True)
    started_at = Text()
    listed_at = Text(default=None, null=True)
    listed = Integer(default=0)
    new = Integer(default=0)
    problem = Text(default=None, null=True)
    finished_at = Text(default=None, null=True)


class Outage(Table, tablename="outage", db=ENGINE):
    id: Serial
    host = Text()
    since = Text()
    failures = Integer()
    about = Text()
    probes = Integer()
    next_try_at = Text()
    problem = Text()
    ended_at = Text(default=None, null=True)


class Alert(Table, tablename="alert", db=ENGINE):
    id: Serial
    client = ForeignKey(Client, default=None, null=True)
    kind = Text()
    object = Text()
    level = Integer()
    raised_at = Text()
    ended_at = Text(default=None, null=True)


class Certificate(Table, tablename="certificate", db=ENGINE):
    id: Serial
    fingerprint = Text()
    subject = Text()
    not_before = Text()
    not_after = Text()
    pem = Text()
    added_by = ForeignKey(Account, default=None, null=True)
    added_at = Text()


class ImportRun(Table, tablename="import_run", db=ENGINE):
    id: Serial
    uid = Text()
    client = ForeignKey(Client, default=None, null=True)
    account = ForeignKey(Account, default=None, null=True)
    source = Text()
    status = Text()
    ignored = Integer(default=0)
    created_at = Text()
    handed_in_at = Text(default=None, null=True)
    finished_at = Text(default=None, null=True)


class ImportItem(Table, tablename="import_item", db=ENGINE):
    id: Serial
    uid = Text()
    run = ForeignKey(ImportRun, null=False)
    client = ForeignKey(Client, default=None, null=True)
    name = Text()
    sha256 = Text()
    about = Text(default="{}")
    depth = Integer(default=0)
    state = Text()
    claim = Text(default=None, null=True)
    upload_id = Text(default=None, null=True)
    same_as = Text(default=None, null=True)
    problem = Text(default=None, null=True)
    settled_at = Text(default=None, null=True)


class Mail(Table, tablename="mail", db=ENGINE):
    id: Serial
    uid = Text()
    cause = Text()
    recipient = Text()
    language = Text()
    subject = Text()
    text = Text()
    state = Text()
    problem = Text(default=None, null=True)
    created_at = Text()
    settled_at = Text(default=None, null=True)


class SpvGrant(Table, tablename="spv_grant", db=ENGINE):
    grant_uid = Text(primary_key=True)
    holder = Text()
    state = Text()
    requested_by = Text()
    issued_at = Text()
    access_expires_at = Text()
    refresh_expires_at = Text()
    cifs = Text()
    seen_at = Text()


class Audit(Table, tablename="audit", db=ENGINE):
    seq = Integer(primary_key=True)
    body = Blob()
    head = Blob()
