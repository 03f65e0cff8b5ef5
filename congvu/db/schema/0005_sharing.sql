-- Mailboxes opened to others (RFC 4314), and what each of them has read there.

-- Who may do what with a mailbox of an account.
CREATE TABLE acl (
    account_id INTEGER NOT NULL,        -- whose mailbox it is
    mailbox_id INTEGER NOT NULL,
    grantee_id INTEGER NOT NULL,        -- an account, 0: anyone
    rights TEXT NOT NULL,               -- letters of lrswipkxtea in this order, at least one
    PRIMARY KEY (account_id, mailbox_id, grantee_id)
)/*clustered*/;
-- The same seen from the other side: a row for each row of `acl`.
CREATE TABLE share (
    account_id INTEGER NOT NULL,        -- the grantee, 0: anyone
    owner_id INTEGER NOT NULL,
    mailbox_id INTEGER NOT NULL,
    PRIMARY KEY (account_id, owner_id, mailbox_id)
)/*clustered*/;

-- What a reader has seen in a mailbox of another account: a bit for each of 4,096 UIDs. The owner's own \Seen is the bit
-- in message.flags. A million letters cost a reader 125 KB at most.
CREATE TABLE seen (
    account_id INTEGER NOT NULL,        -- whose mailbox it is
    mailbox_id INTEGER NOT NULL,
    reader_id INTEGER NOT NULL,         -- the account that reads
    chunk INTEGER NOT NULL,             -- UID / 4096
    bits BLOB NOT NULL,                 -- little-endian, without zeros at the end; a row has at least one bit
    PRIMARY KEY (account_id, mailbox_id, reader_id, chunk)
)/*clustered*/;
CREATE INDEX seen_chunk ON seen (account_id, mailbox_id, chunk);  -- who has seen what is expunged
ALTER TABLE mailbox ADD COLUMN readers INTEGER NOT NULL DEFAULT 0;  -- 1: there may be rows in `seen`
