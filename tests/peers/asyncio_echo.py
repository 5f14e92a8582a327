"""Echo round trips by a client that is not ours: asyncio's streams, from the standard library.

    python3 asyncio_echo.py PORT ROUND_TRIPS CHURN

Some twenty connections share ROUND_TRIPS messages of random sizes; each is sent, read back and
compared. Then a stream of 4 MiB is written and half-closed while it is read, and CHURN connections
are opened for one message each. Prints one line and ends with 0, or with a traceback and 1.
"""

import asyncio
import random
import sys

CONNECTIONS = 20
CHURNERS = 20
BLOCK = random.Random(7).randbytes(1 << 20)


def message(chance):
    """Bytes of a random place in the block: mostly small, at times larger than a receive buffer."""
    size = chance.randint(1, 400) if chance.random() < 0.99 else chance.randint(1, 70_000)
    begin = chance.randrange(len(BLOCK) - size)
    return BLOCK[begin : begin + size]


def compare(sent, received):
    if sent != received:
        place = next(i for i, (a, b) in enumerate(zip(sent, received)) if a != b)
        raise AssertionError(f"byte {place} of {len(sent)} is wrong")


async def round_trips(port, count, seed):
    chance = random.Random(seed)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(count):
        sent = message(chance)
        writer.write(sent)
        compare(sent, await reader.readexactly(len(sent)))
    writer.close()
    await writer.wait_closed()


async def half_close(port):
    """Everything that was sent before the end comes back, and then the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sent = BLOCK * 4

    async def send():
        writer.write(sent)
        await writer.drain()
        writer.write_eof()

    received, _ = await asyncio.gather(reader.read(-1), send())
    if len(received) != len(sent):
        raise AssertionError(f"{len(received)} of {len(sent)} bytes came back before the end")
    compare(sent, received)
    writer.close()
    await writer.wait_closed()


async def churn(port, count, seed):
    chance = random.Random(seed)
    for number in range(count):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        sent = message(chance)
        writer.write(sent)
        compare(sent, await reader.readexactly(len(sent)))
        if number % 10 == 0:
            # Not every client says goodbye: this one resets the connection.
            writer.transport.abort()
        else:
            writer.close()
            await writer.wait_closed()


def shares(total, parts):
    return [total // parts + (1 if part < total % parts else 0) for part in range(parts)]


async def main(port, trips, churned):
    work = [round_trips(port, n, seed) for seed, n in enumerate(shares(trips, CONNECTIONS))]
    await asyncio.gather(half_close(port), *work)
    work = [churn(port, n, 1000 + seed) for seed, n in enumerate(shares(churned, CHURNERS))]
    await asyncio.gather(*work)
    print(f"{trips} round trips, {churned} short connections: every byte came back")


asyncio.run(asyncio.wait_for(main(*map(int, sys.argv[1:4])), timeout=300))
