-- What sorting and threading (RFC 5256) need of a letter, worked out once when it arrives. Null in letters from before: there it is
-- worked out from the other columns when somebody asks.
ALTER TABLE letter ADD COLUMN sort_subject TEXT;    -- base subject, folded, at most 200 characters
ALTER TABLE letter ADD COLUMN thread_keys BLOB;     -- 8 bytes each: base subject and "is a reply", own Message-ID, References
