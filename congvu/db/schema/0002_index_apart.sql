-- The text index gets tables of its own, which nobody's delivery writes to (on SQLite: a file of its own). What it held
-- is made anew from the messages.
DROP TABLE IF EXISTS text_words;
DROP TABLE IF EXISTS text_exact;
DROP TABLE text_doc;
ALTER TABLE store DROP COLUMN indexed;
