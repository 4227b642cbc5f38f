-- A run counts what it has settled, and nothing else is read for it.
CREATE INDEX message_settled ON message (client, settled_at, state) WHERE settled_at IS NOT NULL;
