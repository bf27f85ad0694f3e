"""Idle connections to one server, in a process of its own: file descriptors are limited per process.

Each connection has one answer, then is silent. Source addresses go round, for their ports. Prints "ready"; at SIGTERM
{"alive": how many the server has not closed}.    usage: crowd.py PORT NUMBER
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import sys

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def is_alive(connection: socket.socket) -> bool:
    try:
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def main(port: int, number: int) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    with contextlib.ExitStack() as stack:
        connections = []
        for i in range(number):
            source = (f"127.0.3.{1 + i % 32}", 0)
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10, source))
            connection.sendall(REQUEST)
            if not connection.recv(4096).startswith(b"HTTP/1.1 200"):
                sys.exit(f"connection {i + 1} got no answer")
            connection.setblocking(False)
            connections.append(connection)
        print("ready", flush=True)
        signal.sigwait({signal.SIGTERM})
        print(json.dumps({"alive": sum(map(is_alive, connections))}))


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), int(sys.argv[2]))
    except OSError as error:
        sys.exit(f"not all of {sys.argv[2]} connections opened: {error}")
