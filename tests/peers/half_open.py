"""Opens connections and sends the beginning of a request on each.

    python3 half_open.py PORT COUNT

Prints a line when all are open, and ends, with them, when its input does.
"""

import resource
import socket
import sys

port, count = int(sys.argv[1]), int(sys.argv[2])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
connections = []
for number in range(count):
    # Sixteen addresses, so that ports do not run out.
    connection = socket.create_connection((f"127.0.0.{1 + number % 16}", port))
    if number % 2:
        connection.sendall(b"GET / HTTP/1.1\r\nhost:")
    connections.append(connection)
print(f"{count} are open", flush=True)
sys.stdin.read()
