"""Mailboxes, messages, the change log and search of one account. Knows an account id and a quota number, never a
person."""
