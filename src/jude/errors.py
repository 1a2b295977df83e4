"""One error tree. Transient errors are retried by the job, terminal ones stop it; bad rows are data, not exceptions.

Every message says what happened, where, and what to do next.
"""


class JudeError(Exception):
    """Any error that JUDE raises on purpose."""


class TransientError(JudeError):
    """Trying again may succeed: the batch is retried, and replayed after a restart."""


class TerminalError(JudeError):
    """Trying again changes nothing: the job stops and a person must act."""


class TransientEncoderError(TransientError):
    """The encoder failed, timed out or answered with something that is not vectors."""


class TerminalEncoderError(TerminalError):
    """The encoder answers, but with something that must not be stored: another model version, other inputs."""


class CommitConflictError(TransientError):
    """Another writer changed the same rows between our read and our commit."""


class TransientTableError(TransientError):
    """A table could not be read or written just now (disk full, storage not reachable)."""


class TransientOnlineError(TransientError):
    """The online store could not be reached or written just now."""


class TransientOutputError(TransientError):
    """The output topic could not be reached, or did not acknowledge every record."""


class TerminalSettingsError(TerminalError):
    """The configuration is wrong: which file, which key, which value, and what would be right."""


class TerminalTableError(TerminalError):
    """A table does not fit this version of JUDE or this configuration."""


class TerminalSourceError(TerminalError):
    """The source asks for something that the configuration does not allow (a truncate, lost data)."""


class TerminalEnvironmentError(TerminalError):
    """Something that must be installed is missing (Java, a jar, a package): what, and how to get it."""


class BrokenLedgerError(TerminalError):
    """The counts of a batch do not add up: a defect of JUDE; nothing of the batch was committed."""


class TerminalTrainingError(TerminalError):
    """A training run cannot go on: its data, its settings, its checkpoint or its model."""


class TransientTrainingError(TransientError):
    """A training run was stopped by its surroundings (a lost rank, a full disk): resume it."""
