#!/usr/bin/env python3
"""memsearch.py PID FILE: how often the bytes of FILE (its first line) are in a process's memory.

Reads /proc/PID/mem, so it needs root. The text comes from a file: arguments are seen by everybody.
"""
import sys

STEP = 1 << 24


def main():
    pid, name = sys.argv[1:]
    with open(name, "rb") as f:
        text = f.readline().rstrip(b"\n")
    found = 0
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            span, mode = line.split()[:2]
            start, end = (int(x, 16) for x in span.split("-"))
            if "r" not in mode or "[v" in line:
                continue
            at, tail = start, b""
            while at < end:
                try:
                    mem.seek(at)
                    data = mem.read(min(STEP, end - at))
                except (OSError, ValueError):
                    break
                if not data:
                    break
                found += (tail + data).count(text)
                tail = data[-(len(text) - 1):]
                at += len(data)
    print(found)


main()
