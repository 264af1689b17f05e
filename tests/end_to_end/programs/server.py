"""An idle server: main thread in asyncio's loop, answers worked out in threads.

    python server.py      prints its port, then answers every line with its length until "end"
"""
import asyncio
import sys

kept = bytearray(b"k") * (100 << 20)


def work(line):
    return b"%d\n" % (len(line.strip()) + len(bytearray(1 << 20)) - (1 << 20))


async def main():
    ended = asyncio.Event()

    async def answer(reader, writer):
        line = await reader.readline()
        writer.write(await asyncio.to_thread(work, line))
        await writer.drain()
        writer.close()
        if line.strip() == b"end":
            ended.set()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await ended.wait()
    print("intact" if kept.count(b"k") == len(kept) else "damaged")


asyncio.run(main())
sys.exit(0)
