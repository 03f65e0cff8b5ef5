-- ENVELOPE, BODYSTRUCTURE and the places of the parts, packed together (mailstore/outline.py). In rows from before this is the
-- BODYSTRUCTURE alone, and only there `envelope` and `parts` hold anything.
ALTER TABLE letter RENAME COLUMN structure TO outline;
