"""The one exception that a user's mistake raises."""


class InputError(ValueError):
    """Bad input: one line that says what is wrong and what to do.

    The command line prints the message without a traceback and exits with code 2.
    """


class NotFoundError(InputError):
    """An index has no passage of that id or path."""
