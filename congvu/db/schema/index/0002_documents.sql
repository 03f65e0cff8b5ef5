-- The text index's documents: one for each (account, letter), or one for all (account 0) when the letter is shared.
CREATE TABLE text_doc (
    account_id INTEGER NOT NULL,
    letter_id INTEGER NOT NULL,
    doc INTEGER NOT NULL,
    PRIMARY KEY (account_id, letter_id)
)/*clustered*/;
CREATE UNIQUE INDEX text_doc_doc ON text_doc (doc);
-- How far the index has read each account's change log; -1 - L: it is being made anew and has come to letter L; no row:
-- it is to be made anew.
CREATE TABLE text_cursor (
    account_id INTEGER NOT NULL PRIMARY KEY,
    indexed INTEGER NOT NULL
);
