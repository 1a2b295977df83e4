"""Where a server is and how to be let in, as plain data: travels to Spark's executors."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """An embedding server. Equal addresses share one connection per process."""

    target: str  # host:port, or dns:///name:port for several
    token: str | None = field(default=None, repr=False)
    tls: bool = False
    ca_file: str | None = None  # PEM; None: the authorities this machine trusts
    cert_file: str | None = None  # PEM, for mTLS
    key_file: str | None = None
    max_message_bytes: int = 16 << 20
