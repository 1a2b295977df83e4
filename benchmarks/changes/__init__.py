"""The changes that are played: real streams, more of them by new keys, edits in PostgreSQL, and which texts follow."""
