"""`conf/*.yml` come in, frozen settings go out; every mistake is one sentence with file, key and a way out."""
