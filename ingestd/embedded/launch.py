"""Becomes another program that dies with the process that started it. Knows nothing of servers; standard library only.

Run as a file: `python -I -S launch.py PARENT_PID SIGNAL UID:GID PROGRAM ARGS...`. A small program of its own and not a
`preexec_fn`, because Python code between fork and exec may deadlock in a process with threads (librdkafka has many).
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Drop to UID:GID (when given), ask for SIGNAL at the parent's death, and exec the program."""
    parent_pid, signal_number, account, *command = sys.argv[1:]
    if account != ":":
        uid, gid = (int(part) for part in account.split(":"))
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    # After the change of user, which clears it; exec keeps it.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0) != 0:
        sys.exit(f"prctl(PR_SET_PDEATHSIG): {os.strerror(ctypes.get_errno())}")
    # The parent may have died before prctl: then no signal would ever come.
    if os.getppid() != int(parent_pid):
        sys.exit("the process that started this one is gone")
    try:
        os.execv(command[0], command)
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
