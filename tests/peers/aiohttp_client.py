"""A client of HTTP that is not ours: aiohttp.

    python3 aiohttp_client.py URL

Two hundred requests on twenty kept connections, bodies of all sizes there and back, one that is
sent piece by piece, a body that is too long for the server, and one connection for each request.
Prints one line and ends with 0, or with a traceback and 1.
"""

import asyncio
import random
import sys

import aiohttp

CHANCE = random.Random(11)
BLOCK = CHANCE.randbytes(300_000)


async def pieces(count):
    for number in range(count):
        yield bytes([number % 251]) * 1000
        await asyncio.sleep(0)


async def main(url):
    connector = aiohttp.TCPConnector(limit=20)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def post(size):
            async with session.post(url, data=BLOCK[:size]) as response:
                assert response.status == 200, response.status
                assert await response.read() == BLOCK[:size]

        await asyncio.gather(*(post(CHANCE.randrange(len(BLOCK))) for _ in range(200)))
        async with session.post(url, data=pieces(500)) as response:
            body = await response.read()
            assert len(body) == 500_000 and body[999_000 // 2 :][:1] == bytes([499 % 251])
        async with session.head(url) as response:
            assert response.status == 200 and await response.read() == b""
    async with aiohttp.ClientSession() as session:
        # The server ends this connection, since the rest of the body is in the way.
        async with session.post(url, data=b"x" * 1_000_001) as response:
            assert response.status == 400, response.status
            assert "longer than the server allows" in await response.text()
    once = aiohttp.TCPConnector(force_close=True, limit=10)
    async with aiohttp.ClientSession(connector=once) as session:

        async def get():
            async with session.get(url) as response:
                assert response.status == 200 and await response.read() == b""

        await asyncio.gather(*(get() for _ in range(50)))
    print("all answers are right")


asyncio.run(main(sys.argv[1]))
