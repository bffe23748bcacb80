#!/usr/bin/env python3
"""lockf.py [-n] FILE COMMAND...: as flock(1), with a record lock (fcntl(2)) instead."""
import fcntl
import subprocess
import sys

args = sys.argv[1:]
how = fcntl.LOCK_EX
if args[0] == "-n":
    how |= fcntl.LOCK_NB
    args.pop(0)
with open(args[0], "r+") as f:
    try:
        fcntl.lockf(f, how)
    except OSError:
        sys.exit(1)
    sys.exit(subprocess.call(args[1:]))
