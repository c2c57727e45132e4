"""The fixtures of every test; they live in fix_*.py."""

import signal

pytest_plugins = [
    "tests.fix_servers",
    "tests.fix_debezium",
    "tests.fix_proxy",
    "tests.fix_registry",
    "tests.fix_s3",
    "tests.fault.tally",
]

# A shell ignores SIGINT in what it starts in the background, and every child inherits that: a Ctrl-C that a test sends
# would then do nothing.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
