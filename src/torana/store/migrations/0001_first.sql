-- Times are microseconds since 1970, durations microseconds, money nano-dollars. NULL cost: the price is not known.

CREATE TABLE keys (
    id      TEXT NOT NULL PRIMARY KEY,
    name    TEXT NOT NULL,
    digest  BLOB NOT NULL UNIQUE,
    prefix  TEXT NOT NULL,
    created INTEGER NOT NULL,
    revoked INTEGER NOT NULL,
    source  TEXT NOT NULL
);

-- A rowid table: its own key is one more small index, but rows are appended at its end, which measures cheaper
-- than rows of this width in the index itself. Only ids must be there: an entry with a hole in it is worth more
-- than a batch that can never be written.
CREATE TABLE calls (
    id             TEXT NOT NULL PRIMARY KEY,
    key_id         TEXT,
    surface        TEXT,
    asked          TEXT,
    stream         INTEGER,
    started        INTEGER,
    state          TEXT DEFAULT 'intent',
    status         INTEGER DEFAULT 0,
    error          TEXT DEFAULT '',
    provider       TEXT DEFAULT '',
    model          TEXT DEFAULT '',
    attempts       INTEGER DEFAULT 0,
    input          INTEGER DEFAULT 0,
    cache_read     INTEGER DEFAULT 0,
    cache_write    INTEGER DEFAULT 0,
    cache_write_1h INTEGER DEFAULT 0,
    tool_input     INTEGER DEFAULT 0,
    output         INTEGER DEFAULT 0,
    reasoning      INTEGER DEFAULT 0,
    other          INTEGER DEFAULT 0,
    estimated      INTEGER DEFAULT 0,
    cost           INTEGER,
    priced         TEXT DEFAULT '',
    latency        INTEGER DEFAULT 0,
    first          INTEGER DEFAULT -1,
    overhead       INTEGER DEFAULT 0,
    user           TEXT DEFAULT '',
    metadata       TEXT DEFAULT '',
    dropped        TEXT DEFAULT ''
);

-- Ids begin with the time of their call (ledger.new_call_id), so the order of ids is the order of time: the primary
-- key answers "when". "Whose, when" is answered by a table filled from `calls` a few thousand rows at a time
-- (listing.py): an index kept row by row writes a page of 4 KiB per key and batch, twice the cost of the call itself.
CREATE TABLE calls_by_key (
    key_id TEXT,
    id     TEXT,
    PRIMARY KEY (key_id, id)
) WITHOUT ROWID;

-- The rowid of `calls` up to which calls_by_key is filled. One row.
CREATE TABLE listed (upto INTEGER NOT NULL);
INSERT INTO listed VALUES (0);

-- Only what a crash left stands here, and what is in flight: the start need not read ten million rows to find it.
CREATE INDEX calls_unsettled ON calls (id) WHERE state = 'intent';

CREATE TABLE attempts (
    call_id     TEXT NOT NULL,
    number      INTEGER NOT NULL,
    provider    TEXT,
    model       TEXT,
    started     INTEGER,
    state       TEXT DEFAULT 'intent',
    status      INTEGER DEFAULT 0,
    error       TEXT DEFAULT '',
    upstream_id TEXT DEFAULT '',
    latency     INTEGER DEFAULT 0,
    first       INTEGER DEFAULT -1,
    PRIMARY KEY (call_id, number)
) WITHOUT ROWID;
