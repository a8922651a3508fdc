"""A command that says that it runs: a line for each moment, with its token and the time that processes share.

``python child.py [--stubborn] [--parent]``: it takes no notice of SIGTERM; it has a child, which does the same.
"""

import os
import signal
import sys
import time

STEP_S = 0.005


def main() -> None:
    """Write until it is killed."""
    who = "command"
    if "--stubborn" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "--parent" in sys.argv and os.fork() == 0:
        who = "child"
    token = os.environ["ATOMIX_ELECTION_TOKEN"]
    for each in (signal.SIGHUP, signal.SIGUSR1):
        signal.signal(each, lambda number, _: os.write(1, f"{who} {os.getpid()} {token} {number}.0\n".encode()))
    while True:
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        os.write(1, f"{who} {os.getpid()} {token} {now!r}\n".encode())
        time.sleep(STEP_S)


main()
