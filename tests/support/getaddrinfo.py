"""Looks a name up from many threads at once, as programs with a large thread pool do: by the C library's resolver.

usage: getaddrinfo.py NAME THREADS LOOKUPS ADDRESSES

Each thread makes LOOKUPS lookups, all of which have to give ADDRESSES addresses. Prints how many did, and why others did not.
"""

import collections
import socket
import sys
import threading

name = sys.argv[1]
threads, lookups, addresses = map(int, sys.argv[2:])
outcomes = collections.Counter()
counting = threading.Lock()
# The time that a thread takes to start is not to spread the lookups.
start = threading.Barrier(threads)


def look_up():
    start.wait()
    for _ in range(lookups):
        try:
            found = socket.getaddrinfo(name, 80, socket.AF_INET, socket.SOCK_STREAM)
            outcome = "found" if len({entry[4][0] for entry in found}) == addresses else f"{len(found)} addresses"
        except OSError as error:
            outcome = str(error)
        with counting:
            outcomes[outcome] += 1


pool = [threading.Thread(target=look_up) for _ in range(threads)]
for thread in pool:
    thread.start()
for thread in pool:
    thread.join()
print(", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items())))
