-- What FETCH says of 512 messages that lie side by side, together as it is sent (mailstore/sheets.py). Derived from the rows
-- of messages and letters, when the last of the 512 UIDs has been given; never changed but to be emptied.
CREATE TABLE sheet (
    account_id INTEGER NOT NULL,
    mailbox_id INTEGER NOT NULL,
    run INTEGER NOT NULL,               -- (UID - 1) / 512
    letters INTEGER NOT NULL,           -- how many messages stand on it; 0: it was looked at and is not worth its place
    frame BLOB NOT NULL,                -- as sheets.Sheet packs itself; empty where `letters` is 0
    PRIMARY KEY (account_id, mailbox_id, run)
);  -- not clustered: SQLite would read whole frames to compare their keys
