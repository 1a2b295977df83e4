-- The source database of the examples. Columns beside the text fields of conf/entities/ change without an inference.
CREATE TABLE IF NOT EXISTS jobs (
    id text PRIMARY KEY, title text, organisation text, location text, description text,
    pay text, grade text, series text, announcement text, opens text, closes text,
    status text, revision text, updated_at text
);
CREATE TABLE IF NOT EXISTS members (
    id text PRIMARY KEY, name text, headline text, experience text,
    contact_json text, revision text, updated_at text
);
CREATE TABLE IF NOT EXISTS resumes (
    id text PRIMARY KEY, title text, summary text, skills text[], experience text,
    visibility text, views integer, source text, updated_at text
);

-- An idle database would keep its log for ever: Debezium writes here every few seconds and so confirms what it read.
CREATE TABLE IF NOT EXISTS debezium_heartbeat (id integer PRIMARY KEY, at timestamptz NOT NULL);

-- A row here asks Debezium for something, for example a new snapshot beside the stream (docs/operations.md).
CREATE TABLE IF NOT EXISTS debezium_signal (id text PRIMARY KEY, type text NOT NULL, data text);

DROP PUBLICATION IF EXISTS jude;
CREATE PUBLICATION jude FOR TABLE jobs, members, resumes, debezium_signal, debezium_heartbeat;
