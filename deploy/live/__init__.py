"""What drives and checks the real chain: a source database that lives, a supervised stream, and the comparison of all.

Used by `make demo-live`, `make test-live` and `make bench-freshness`.
"""
