"""The one error of `python -m bench`. Knows nothing of what went wrong."""


class Problem(Exception):
    """Ends the command with this one line on standard error and exit code 1."""
