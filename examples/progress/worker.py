#!/usr/bin/env python3
"""Works on a job and publishes its progress straight to Redis: no hub in between, no library of hubplane's, none at all.

    python3 worker.py JOB [HOST:PORT [PREFIX]]

A hub started with `--backplane redis://HOST:PORT` passes the messages on to the browsers that watch the job.
"""

import json
import socket
import sys
import time

STEPS = 10


def command(connection, *words):
    """Sends one Redis command and returns the first line of the answer (https://redis.io/docs/reference/protocol-spec)."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word.encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    connection.sendall(b"".join(parts))
    answer = connection.makefile("rb").readline().decode().strip()
    if answer.startswith("-"):
        sys.exit(f"Redis refused: {answer[1:]}")
    return answer


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    job = sys.argv[1]
    host, port = (sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1:6379").rsplit(":", 1)
    prefix = sys.argv[3] if len(sys.argv) > 3 else "hubplane:"
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        for step in range(1, STEPS + 1):
            time.sleep(0.4)
            progress = {"step": step, "of": STEPS, "worker": "worker.py"}
            command(connection, "PUBLISH", f"{prefix}jobs.{job}", json.dumps(progress))


if __name__ == "__main__":
    main()
