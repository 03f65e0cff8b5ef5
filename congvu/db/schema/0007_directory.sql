-- The directory of the province: units, people, requests, roles. Dates of law are TEXT 'YYYY-MM-DD' ('' open), instants
-- are seconds since 1970. `until` is the first day on which something is no more.

ALTER TABLE unit ADD COLUMN folded TEXT NOT NULL DEFAULT '';    -- for searching: base/vietnamese.fold, a space before each word
ALTER TABLE unit ADD COLUMN since TEXT NOT NULL DEFAULT '';
ALTER TABLE unit ADD COLUMN until TEXT NOT NULL DEFAULT '';
ALTER TABLE unit ADD COLUMN domain TEXT NOT NULL DEFAULT '';    -- mail domain of its people and boxes, '' the parent's
ALTER TABLE unit ADD COLUMN profile TEXT NOT NULL DEFAULT '';   -- regulation profile, '' the parent's
ALTER TABLE unit ADD COLUMN code TEXT NOT NULL DEFAULT '';      -- the State's number of a commune, '' none
CREATE INDEX unit_parent ON unit (parent_id);
CREATE TABLE succession (
    unit_id INTEGER NOT NULL,           -- the unit that ended …
    successor_id INTEGER NOT NULL,      -- … and one that took over from it
    day TEXT NOT NULL,
    how TEXT NOT NULL,                  -- merged, split, renamed
    PRIMARY KEY (unit_id, successor_id)
)/*clustered*/;
CREATE INDEX succession_back ON succession (successor_id);

ALTER TABLE account ADD COLUMN since INTEGER NOT NULL DEFAULT 0;        -- when the state was reached, 0: when it was made
ALTER TABLE account ADD COLUMN reason TEXT NOT NULL DEFAULT '';         -- why it is locked or revoked: directory/lifecycle.py
ALTER TABLE account ADD COLUMN hold INTEGER NOT NULL DEFAULT 0;         -- 1: an inquiry is on, nothing of it is purged
ALTER TABLE account ADD COLUMN seen_day INTEGER NOT NULL DEFAULT 0;     -- last day (days since 1970, UTC+7) of a sign-in, 0 never
ALTER TABLE account ADD COLUMN away TEXT NOT NULL DEFAULT '';           -- on leave until this day: inactivity does not count
ALTER TABLE account ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;        -- grows when every open session has to end; about its instant
CREATE INDEX account_unit ON account (unit_id);
CREATE INDEX account_state ON account (state, since);
CREATE INDEX account_epoch ON account (epoch);      -- each worker looks for what has just ended

ALTER TABLE credential ADD COLUMN must_change INTEGER NOT NULL DEFAULT 0;   -- 1: given out by somebody, 2: too old: opens no door before it is changed; 3: opens none at all
ALTER TABLE credential ADD COLUMN wrong INTEGER NOT NULL DEFAULT 0;         -- wrong passwords since the last right one
CREATE TABLE credential_past (
    account_id INTEGER NOT NULL,
    changed INTEGER NOT NULL,           -- when this one was set
    hash TEXT NOT NULL,
    PRIMARY KEY (account_id, changed)
)/*clustered*/;

-- An address receives while `rests` is 0 and its end has not come.
ALTER TABLE address ADD COLUMN ends TEXT NOT NULL DEFAULT '';       -- an old address kept for a time: until this day
ALTER TABLE address ADD COLUMN rests INTEGER NOT NULL DEFAULT 0;    -- freed: receives nothing, nobody else gets it before this instant
CREATE INDEX address_rests ON address (rests);

-- What the directory shows of an account, whatever its kind.
CREATE TABLE entry (
    account_id INTEGER NOT NULL PRIMARY KEY,
    title TEXT NOT NULL,                -- chức vụ of the main post
    phone TEXT NOT NULL,
    mobile TEXT NOT NULL,
    place TEXT NOT NULL,                -- postal address
    shown INTEGER NOT NULL,             -- bits: 1 in the directory, 2 phone there, 4 mobile there, 8 on the public list
    folded TEXT NOT NULL                -- words of name, addresses and title, folded, a space before each
);
-- A person behind an account of kind person.
CREATE TABLE person (
    account_id INTEGER NOT NULL PRIMARY KEY,
    family TEXT NOT NULL,               -- họ
    middle TEXT NOT NULL,               -- chữ lót
    given TEXT NOT NULL,                -- tên
    birth TEXT NOT NULL,
    category TEXT NOT NULL,             -- canbo, congchuc, vienchuc, nguoilaodong, '' not said
    number TEXT NOT NULL                -- of the personnel file, '' none: by it rosters meet again
);
CREATE INDEX person_number ON person (number);
CREATE TABLE post (
    account_id INTEGER NOT NULL,
    unit_id INTEGER NOT NULL,
    title TEXT NOT NULL,
    main INTEGER NOT NULL,              -- 1 for the one that account.unit_id names
    since TEXT NOT NULL,
    until TEXT NOT NULL,
    PRIMARY KEY (account_id, unit_id, title)
)/*clustered*/;
CREATE INDEX post_unit ON post (unit_id);
-- Who answers for the mailbox of an organisation or unit, and who works it.
CREATE TABLE duty (
    account_id INTEGER NOT NULL PRIMARY KEY,
    head_id INTEGER,                    -- người đứng đầu
    clerk_id INTEGER,                   -- văn thư
    since INTEGER NOT NULL
);
CREATE INDEX duty_clerk ON duty (clerk_id);

-- Who may do what in which part of the tree.
CREATE TABLE role (
    account_id INTEGER NOT NULL,
    role TEXT NOT NULL,                 -- operator, approver, unit_admin, auditor
    unit_id INTEGER NOT NULL,
    since TEXT NOT NULL,
    until TEXT NOT NULL,
    PRIMARY KEY (account_id, role, unit_id)
)/*clustered*/;
CREATE INDEX role_unit ON role (unit_id);

-- Phiếu yêu cầu.
CREATE TABLE request (
    id INTEGER NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,                 -- directory/requests.py
    state TEXT NOT NULL,
    unit_id INTEGER NOT NULL,           -- the agency that asks
    number TEXT NOT NULL,               -- số/ký hiệu of its letter
    dated TEXT NOT NULL,
    summary TEXT NOT NULL,              -- trích yếu
    basis TEXT NOT NULL,                -- number of the decision behind it
    file BLOB,                          -- hash of the signed letter, as in `blob`
    file_name TEXT NOT NULL,
    created INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    due TEXT NOT NULL,                  -- last working day for the answer
    decided INTEGER NOT NULL,           -- 0: not yet
    decided_by TEXT NOT NULL,
    answer TEXT NOT NULL,               -- what the operator says to it
    reply_number TEXT NOT NULL,
    version INTEGER NOT NULL            -- grows with each change: who decides names the one that he saw
);
CREATE INDEX request_state ON request (state, due);
CREATE INDEX request_unit ON request (unit_id, created);
CREATE TABLE request_item (
    request_id INTEGER NOT NULL,
    line INTEGER NOT NULL,
    account_id INTEGER,                 -- whom it is about; null for somebody new until it is granted
    facts TEXT NOT NULL,                -- JSON: what is asked
    outcome TEXT NOT NULL,              -- '', granted, refused
    remark TEXT NOT NULL,               -- the reason of a refusal, the clause of an address
    PRIMARY KEY (request_id, line)
)/*clustered*/;
CREATE INDEX request_item_account ON request_item (account_id);
-- Papers that came or were made: signed letters, replies, minutes.
CREATE TABLE paper (
    id INTEGER NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    request_id INTEGER,
    account_id INTEGER,
    hash BLOB NOT NULL,                 -- as in `blob`
    name TEXT NOT NULL,
    created INTEGER NOT NULL
);
CREATE INDEX paper_request ON paper (request_id);

-- A unit's administrator has confirmed the list of the unit (row 7.5).
CREATE TABLE attestation (
    unit_id INTEGER NOT NULL,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    entries INTEGER NOT NULL,
    digest BLOB NOT NULL,               -- of the list as it was confirmed
    remark TEXT NOT NULL,
    PRIMARY KEY (unit_id, at)
)/*clustered*/;
-- Days on which an account signed in: a bit for each day of a month.
CREATE TABLE activity (
    account_id INTEGER NOT NULL,
    month INTEGER NOT NULL,             -- year * 12 + month - 1
    days INTEGER NOT NULL,              -- bit 0: the first
    PRIMARY KEY (account_id, month)
)/*clustered*/;
-- Letters sent to addresses outside, by minute (row 4.3).
CREATE TABLE sent (
    account_id INTEGER NOT NULL,
    minute INTEGER NOT NULL,            -- minutes since 1970
    letters INTEGER NOT NULL,
    recipients INTEGER NOT NULL,
    PRIMARY KEY (account_id, minute)
)/*clustered*/;

-- What is done by the clock: until which day, and who is at it.
CREATE TABLE chore (
    name TEXT NOT NULL PRIMARY KEY,
    day TEXT NOT NULL,                  -- last day it was done for, '' never
    lease INTEGER NOT NULL              -- somebody does it until this instant
);

-- Plans of mergers and splits, step by step, with what is needed to take them back.
CREATE TABLE plan (
    id INTEGER NOT NULL PRIMARY KEY,
    state TEXT NOT NULL,                -- drawn, running, done, taking-back, taken-back
    title TEXT NOT NULL,
    facts TEXT NOT NULL,                -- JSON
    created INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    done INTEGER NOT NULL,              -- 0: not yet
    version INTEGER NOT NULL
);
CREATE TABLE plan_step (
    plan_id INTEGER NOT NULL,
    line INTEGER NOT NULL,
    kind TEXT NOT NULL,
    facts TEXT NOT NULL,                -- JSON: what it does
    undo TEXT NOT NULL,                 -- JSON: what was before, '' until it is done
    done INTEGER NOT NULL,              -- 0: not yet
    PRIMARY KEY (plan_id, line)
)/*clustered*/;

-- Sessions of the consoles and tokens of programs.
CREATE TABLE token (
    hash BLOB NOT NULL PRIMARY KEY,     -- BLAKE3 of the secret
    account_id INTEGER NOT NULL,
    scopes TEXT NOT NULL,               -- separated by spaces; '' a session, which may all that the person may
    label TEXT NOT NULL,
    created INTEGER NOT NULL,
    ends INTEGER NOT NULL,
    used INTEGER NOT NULL,
    peer TEXT NOT NULL                  -- where it was last used from
);
CREATE INDEX token_account ON token (account_id);

-- Row 0 of the audit counts the others, so that rows cut off at the end are missed.
UPDATE audit SET at = (SELECT max(id) FROM audit AS all_rows) WHERE id = 0;
