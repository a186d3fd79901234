"""The exceptions that mean: the user can mend this."""


class LocregError(Exception):
    """A failure that its reader can mend; the message is one sentence that says how.

    The command line prints the message without a traceback. Everything else that escapes is a bug.
    """


class UsageError(LocregError):
    """An argument that can never work, such as a noise level of 25; exit status 2."""
