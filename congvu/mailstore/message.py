"""Messages: letters placed in mailboxes. Every function is one step of a caller's transaction and keeps all counters true."""

SEEN, ANSWERED, FLAGGED, DELETED, DRAFT = 1, 2, 4, 8, 16
