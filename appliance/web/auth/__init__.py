"""Who is asking, and whether the request is theirs: sessions, tokens, headers, guards."""
