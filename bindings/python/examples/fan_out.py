"""Sends the ticks of a queue to any number of browsers: python fan_out.py [queue [port]].

Start `target/examples/producer ticks`, and open http://localhost:8080/ in a browser or with curl.
A page receives them with `new EventSource("http://localhost:8080/")`.
"""

import asyncio
import json
import struct
import sys

import ipcq

# struct tick {uint64_t time_ns; double price; uint32_t quantity; uint32_t reserved;};
TICK = struct.Struct("<QdII")

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
    b"Access-Control-Allow-Origin: *\r\nConnection: close\r\n\r\n"
)


def event(message: bytes) -> bytes:
    time_ns, price, quantity, _ = TICK.unpack(message)
    tick = {"time": time_ns / 1e9, "price": price, "quantity": quantity}
    return f"data: {json.dumps(tick)}\n\n".encode()


async def send(q: ipcq.Consumer, writer: asyncio.StreamWriter) -> None:
    """Sends ticks until the producer closes the queue."""
    async for batch in q.batches(linger=0.02):
        if batch.lost:
            writer.write(b"event: lost\ndata: %d\n\n" % batch.lost)
        writer.writelines(map(event, batch))
        # Waits for a client that reads slowly. It may lose ticks. Other clients do not.
        await writer.drain()
    writer.write(b"event: closed\ndata:\n\n")


async def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "ticks"
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 8080
    ipcq.Consumer(name, open_timeout=60).close()  # waits for the queue

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            # Each client has its own consumer, which costs the producer nothing.
            with ipcq.Consumer(name, start="next") as q:
                writer.write(HEAD)
                await send(q, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has disconnected
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "localhost", port)
    print(f"http://localhost:{server.sockets[0].getsockname()[1]}/", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass
