-- What is noted about mailboxes besides their messages (RFC 5464): comments, colours, whatever a program keeps there.
CREATE TABLE metadata (
    account_id INTEGER NOT NULL,
    mailbox_id INTEGER NOT NULL,        -- 0: of the account as a whole ("server" entries)
    reader_id INTEGER NOT NULL,         -- whose own it is (/private); 0: for all who see the mailbox (/shared)
    entry TEXT NOT NULL,                -- what follows /private or /shared, in lower case: "/comment"
    value BLOB NOT NULL,
    PRIMARY KEY (account_id, mailbox_id, reader_id, entry)
)/*clustered*/;
