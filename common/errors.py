"""The two kinds of error a person meets."""


class UserError(Exception):
    """Something the user can mend: one line that says what is wrong and what to do.

    The command line prints the message without a traceback and exits with code 2.
    """


class ClientFailureError(Exception):
    """A client's job failed and ``failures.policy`` says that this ends the run (exit code 1)."""
