-- One text for both engines. INTEGER is 64 bits, BLOB is bytes; /*clustered*/ asks for rows kept in key order where the
-- engine can. Every table of a mailbox starts its key with account_id.

-- Who: an account is whoever or whatever holds a mailbox. (Units and persons grow in the directory's own issue.)
CREATE TABLE unit (
    id INTEGER NOT NULL PRIMARY KEY,
    parent_id INTEGER,
    name TEXT NOT NULL,
    category TEXT NOT NULL
);
CREATE TABLE account (
    id INTEGER NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,                 -- organisation, unit, person, functional
    state TEXT NOT NULL,                -- requested, active, locked, revoked, purged
    name TEXT NOT NULL,                 -- NFC
    unit_id INTEGER,
    created INTEGER NOT NULL            -- seconds since 1970
);
CREATE TABLE address (
    address TEXT NOT NULL PRIMARY KEY,  -- local part and domain, lower case, NFC
    account_id INTEGER NOT NULL,
    is_primary INTEGER NOT NULL         -- 1 for the one address an account is known by
);
CREATE INDEX address_account ON address (account_id);
CREATE TABLE credential (
    account_id INTEGER NOT NULL PRIMARY KEY,
    hash TEXT NOT NULL,                 -- argon2 PHC string, or {SCHEME}… as imported
    scram TEXT,                         -- SCRAM-SHA-256 keys (RFC 5803 form), null until first plain sign-in
    changed INTEGER NOT NULL
);

-- Bytes: where each content lies. `hash` is BLAKE3-256 of the bytes as received.
CREATE TABLE blob (
    hash BLOB NOT NULL PRIMARY KEY,
    size INTEGER NOT NULL,              -- bytes as received
    place TEXT NOT NULL,                -- the keeper's own words, e.g. "pack/3f2a/12:8821+3310"
    touched INTEGER NOT NULL            -- last time somebody stored it; the sweeper spares recent ones
);

-- A letter: one content as it arrived once, with the headers added on arrival and all that was parsed. Shared by its
-- recipients and copies; belongs to no mailbox.
CREATE TABLE letter (
    id INTEGER NOT NULL PRIMARY KEY,
    hash BLOB NOT NULL,
    size INTEGER NOT NULL,              -- bytes of prefix and content
    prefix BLOB NOT NULL,               -- headers added on arrival
    envelope BLOB NOT NULL,             -- IMAP ENVELOPE as sent on the wire
    structure BLOB NOT NULL,            -- IMAP BODYSTRUCTURE as sent on the wire
    parts BLOB NOT NULL,                -- codec.mime.pack_parts: offsets of every part
    sent INTEGER,                       -- Date: header, seconds since 1970
    subject TEXT NOT NULL,              -- decoded, NFC
    sender TEXT NOT NULL,               -- From: decoded, "name <address>, …"
    recipients TEXT NOT NULL,           -- To: and Cc: decoded, one line each
    preview TEXT NOT NULL,              -- RFC 8970
    shared INTEGER NOT NULL             -- 1: arrived for many accounts at once, text indexed once for all
);

-- Mailboxes.
CREATE TABLE store (
    account_id INTEGER NOT NULL PRIMARY KEY,
    modseq INTEGER NOT NULL,            -- last used number of the change log
    indexed INTEGER NOT NULL,           -- the text index has read the change log up to here
    quota INTEGER NOT NULL,             -- bytes; 0 means none
    used INTEGER NOT NULL,              -- bytes, every copy counted
    messages INTEGER NOT NULL,
    next_mailbox INTEGER NOT NULL,
    last_uid_validity INTEGER NOT NULL
);
CREATE TABLE mailbox (
    account_id INTEGER NOT NULL,
    id INTEGER NOT NULL,                -- 1 is INBOX
    name TEXT NOT NULL,                 -- NFC, levels separated by "/"
    role TEXT NOT NULL,                 -- "", inbox, sent, drafts, junk, trash, archive
    subscribed INTEGER NOT NULL,
    uid_validity INTEGER NOT NULL,
    uid_next INTEGER NOT NULL,
    recent_from INTEGER NOT NULL,       -- rfc3501 2.3.2: UIDs from here on have been seen by no session
    modseq INTEGER NOT NULL,            -- HIGHESTMODSEQ
    messages INTEGER NOT NULL,
    unseen INTEGER NOT NULL,
    deleted INTEGER NOT NULL,           -- messages flagged \Deleted
    size INTEGER NOT NULL,              -- bytes
    keywords TEXT NOT NULL,             -- every keyword ever used here, separated by spaces
    PRIMARY KEY (account_id, id)
)/*clustered*/;
CREATE UNIQUE INDEX mailbox_name ON mailbox (account_id, name);
CREATE TABLE subscription (
    account_id INTEGER NOT NULL,
    name TEXT NOT NULL,                 -- a subscribed name whose mailbox is gone (rfc9051 6.3.7)
    PRIMARY KEY (account_id, name)
)/*clustered*/;
CREATE TABLE message (
    account_id INTEGER NOT NULL,
    mailbox_id INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    letter_id INTEGER NOT NULL,
    thread_id INTEGER NOT NULL,
    modseq INTEGER NOT NULL,
    flags INTEGER NOT NULL,             -- 1 \Seen 2 \Answered 4 \Flagged 8 \Deleted 16 \Draft
    keywords TEXT NOT NULL,             -- separated by spaces
    received INTEGER NOT NULL,          -- INTERNALDATE, seconds since 1970
    saved INTEGER NOT NULL,             -- RFC 8514 SAVEDATE
    size INTEGER NOT NULL,              -- letter.size, kept here so that sizes need no second look
    PRIMARY KEY (account_id, mailbox_id, uid)
)/*clustered*/;
CREATE INDEX message_letter ON message (account_id, letter_id);
CREATE TABLE thread_key (
    account_id INTEGER NOT NULL,
    key INTEGER NOT NULL,               -- 63-bit hash of a Message-ID
    thread_id INTEGER NOT NULL,
    PRIMARY KEY (account_id, key)
)/*clustered*/;
CREATE TABLE change (
    account_id INTEGER NOT NULL,
    modseq INTEGER NOT NULL,
    mailbox_id INTEGER NOT NULL,
    kind INTEGER NOT NULL,              -- 1 appeared, 2 flags, 3 vanished, 4 the mailbox itself
    uids TEXT NOT NULL,                 -- IMAP sequence set, "" for kind 4
    letters BLOB,                       -- kind 3: letter ids, 8 bytes each, big-endian
    PRIMARY KEY (account_id, modseq, mailbox_id, kind)
)/*clustered*/;

-- The text index's documents: one for each (account, letter), or one for all (account 0) when the letter is shared.
CREATE TABLE text_doc (
    account_id INTEGER NOT NULL,
    letter_id INTEGER NOT NULL,
    doc INTEGER NOT NULL,
    PRIMARY KEY (account_id, letter_id)
)/*clustered*/;
CREATE UNIQUE INDEX text_doc_doc ON text_doc (doc);

-- The way out: one row a recipient.
CREATE TABLE queue (
    id INTEGER NOT NULL PRIMARY KEY,
    letter_id INTEGER NOT NULL,
    account_id INTEGER NOT NULL,        -- who sent it
    sender TEXT NOT NULL,               -- MAIL FROM
    recipient TEXT NOT NULL,
    notify TEXT NOT NULL,               -- RFC 3461 NOTIFY, "" when not given
    orcpt TEXT NOT NULL,
    ret TEXT NOT NULL,
    envid TEXT NOT NULL,
    created INTEGER NOT NULL,
    due INTEGER NOT NULL,               -- not before
    lease INTEGER NOT NULL,             -- claimed until
    attempts INTEGER NOT NULL,
    last_reply TEXT NOT NULL
);
CREATE INDEX queue_due ON queue (due);

-- What was done by whom; each row seals the one before.
CREATE TABLE audit (
    id INTEGER NOT NULL PRIMARY KEY,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    act TEXT NOT NULL,
    facts TEXT NOT NULL,                -- JSON
    seal BLOB NOT NULL                  -- BLAKE3 of the previous seal and this row
);
