"""JUDE keeps LLM embeddings of job postings, member profiles and resumes fresh.

The packages stand in the order in which data flows: `changes` come in, become `text`, `planning` decides what they
mean, the `encoder` makes vectors of what really changed, `tables` and `online` keep them, `stream` drives it all.
"""

__version__ = "0.1.0"
