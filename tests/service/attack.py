"""A process that is in everybody's way: `python attack.py PORT SLOW HUGE` keeps SLOW bodies half sent and HUGE bodies of 100 MB under way.

Until its standard input ends. Then it prints what it was answered, as JSON. Its connections come from many loopback addresses.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter

HUGE_BYTES = 100_000_000
CHUNK = bytes(1 << 16)
ADDRESSES = 40  # each may send 16 bodies at a time
HEAD = (
    "POST /mj/insight-face/swap HTTP/1.1\r\nHost: attack\r\nmj-api-secret: {secret}\r\n"
    "Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
)


class Attack:
    def __init__(self, port: int) -> None:
        self._port = port
        self.answers: Counter[str] = Counter()

    async def slow(self, number: int) -> None:
        """A byte a second, for ever; again when it is cut off."""
        while True:
            await self._body(number, 1_000_000, b" ", 1.0)

    async def huge(self, number: int) -> None:
        while True:
            await self._body(number, HUGE_BYTES, CHUNK, 0.0)

    async def _body(self, number: int, length: int, chunk: bytes, pause_s: float) -> None:
        try:
            source = (f"127.0.1.{1 + number % ADDRESSES}", 0)
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port, local_addr=source)
        except OSError as error:
            self.answers[type(error).__name__] += 1
            return await asyncio.sleep(1)
        answer = asyncio.create_task(reader.readuntil(b"\r\n"))
        try:
            writer.write(HEAD.format(length=length, secret=os.environ.get("SECRET", "")).encode())
            sent = 0
            while sent < length and not answer.done():
                writer.write(chunk)
                sent += len(chunk)
                await writer.drain()
                if pause_s:
                    await asyncio.wait([answer], timeout=pause_s)
            self.answers[(await answer).split()[1].decode()] += 1
        except (OSError, asyncio.IncompleteReadError) as error:
            self.answers[type(error).__name__] += 1
        finally:
            answer.cancel()
            await asyncio.gather(answer, return_exceptions=True)
            writer.close()
        await asyncio.sleep(1)  # even an attacker has to connect anew


async def main(port: int, slow: int, huge: int) -> None:
    attack = Attack(port)
    tasks = [asyncio.create_task(attack.slow(n)) for n in range(slow)] + [asyncio.create_task(attack.huge(n)) for n in range(huge)]
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    print(json.dumps(attack.answers))


if __name__ == "__main__":
    os.nice(19)  # real attackers work on machines of their own
    asyncio.run(main(*map(int, sys.argv[1:])))
