"""The other end of the tests: Python's `websockets`, as a server or as clients.

    peer.py server LIMIT [OFFER]        echoes; prints the address it listens on
    peer.py clients URL COUNT LIMIT     connects so often, one after the other, and echoes
    peer.py talk URL                    talks to an echo server, and prints what it heard
"""

import asyncio
import sys

import websockets


async def echo(socket):
    try:
        async for message in socket:
            await socket.send(message)
    except websockets.ConnectionClosed:
        pass


async def serve(limit, *offer):
    compression = "deflate" if offer else None
    options = {"max_size": int(limit), "compression": compression, "ping_interval": None}
    async with websockets.serve(echo, "127.0.0.1", 0, **options) as server:
        host, port = server.sockets[0].getsockname()
        print(f"{host}:{port}", flush=True)
        await asyncio.Future()


async def connect(url, count, limit):
    print("begins", flush=True)
    for _ in range(int(count)):
        options = {"max_size": int(limit), "compression": None, "ping_interval": None}
        async with websockets.connect(url, **options) as socket:
            await echo(socket)


async def talk(url):
    """Offers compression, and two subprotocols."""
    options = {"compression": "deflate", "subprotocols": ["chat.v1", "chat.v2"]}
    async with websockets.connect(url, **options) as socket:
        print("extensions", socket.extensions, flush=True)
        print("subprotocol", socket.subprotocol, flush=True)
        for message in ["hello", "\u00e4\U0001f600", b"\x00\xff", "*" * 300_000, ""]:
            await socket.send(message)
            assert await socket.recv() == message, "another message came back"
        await (await socket.ping(b"are you there"))
        await socket.send(["in ", "several ", "fragments"])
        print("heard", await socket.recv(), flush=True)
        await socket.close(4001, "enough")
    print("closed", socket.close_code, socket.close_reason, flush=True)


kinds = {"server": serve, "clients": connect, "talk": talk}
asyncio.run(kinds[sys.argv[1]](*sys.argv[2:]))
