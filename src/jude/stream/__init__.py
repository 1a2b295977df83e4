"""Changes and settings come in; tables, online store and topic move on, and the ledger says what became of each change.

`run` is the job and `query` its Structured Streaming; `micro_batch` is one batch from plan to commit, and `planned`,
`vectors`, `effects` and `rows` are its parts; `replay` leads back from quarantine; `drain` and `controls` steer.
"""
