"""The real chain on one machine, without containers: PostgreSQL, Kafka, Kafka Connect with Debezium, Redis.

    python -m deploy.stack up | status | down        or: make stack-up, stack-status, stack-down

Everything that it writes lies in one folder (default `.jude/stack`): settings, data, logs, and `stack.json`, which says
which processes were started. Only those are ever stopped.
"""

from deploy.stack.stack import Stack

__all__ = ["Stack"]
