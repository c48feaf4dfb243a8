"""The exceptions that a user's mistake raises."""

BUILD_AGAIN = "build the index again (mbert-index build SOURCES --rebuild)"


class InputError(ValueError):
    """Bad input: one line that says what is wrong and what to do.

    The command line prints the message without a traceback and exits with code 2.
    """


class NotFoundError(InputError):
    """The index has no passage with that id or path."""


class UnreadableError(InputError):
    """A file is there and cannot be read, so that nothing is known of its content."""


class LockedError(InputError):
    """Another process, or another writer of this one, is changing the index: try again later."""


class TimeLimitError(InputError):
    """The search took longer than it may."""


class UntrustedError(InputError):
    """The index was not made by this user on this machine: it is searched, and nothing else, until
    the user trusts it (`mbert-index trust`)."""
