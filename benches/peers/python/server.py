"""The servers on asyncio, and on asyncio with uvloop's loop.

Both use protocols and transports, the quicker of asyncio's two styles: the loop hands over what has
arrived, and the protocol writes the answer.

    server.py echo|http --port P [--loop asyncio|uvloop]
"""

import argparse
import asyncio
import email.utils
import json
import time


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        # TCP_NODELAY is already on: both loops set it.
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class Http(asyncio.Protocol):
    """Requests without bodies: their heads are found by their empty lines."""

    made_at = -1
    plaintext = b""

    def connection_made(self, transport):
        self.transport = transport
        self.part = b""

    def data_received(self, data):
        if Http.made_at != (now := int(time.time())):
            Http.made_at = now
            Http.common = f"Server: asyncio\r\nDate: {email.utils.formatdate(now, usegmt=True)}\r\n"
            Http.plaintext = answer("text/plain", "Hello, World!")
        heads = (self.part + data).split(b"\r\n\r\n")
        self.part = heads.pop()
        if heads:
            self.transport.write(b"".join([respond(head) for head in heads]))


def respond(head):
    if head.startswith(b"GET /plaintext "):
        return Http.plaintext
    if head.startswith(b"GET /json "):
        return answer("application/json", json.dumps({"message": "Hello, World!"}))
    return answer("text/plain", "not found\n", "404 Not Found")


def answer(kind, body, status="200 OK"):
    head = f"HTTP/1.1 {status}\r\n{Http.common}Content-Type: {kind}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


async def serve(options):
    protocol = Http if options.kind == "http" else Echo
    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", options.port, backlog=4096)
    await server.serve_forever()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["echo", "http"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    options = parser.parse_args()
    if options.loop == "uvloop":
        import uvloop

        uvloop.run(serve(options))
    else:
        asyncio.run(serve(options))


main()
