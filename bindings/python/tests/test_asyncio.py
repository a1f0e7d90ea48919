"""Waiting in an asyncio loop."""

import asyncio
import gc
import os
import random
import threading

import pytest
from helpers import word

import ipcq


def number(message):
    return int.from_bytes(message, "little")


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    """Runs a coroutine in a loop of each kind."""
    if request.param == "uvloop":
        new_loop = pytest.importorskip("uvloop").new_event_loop
    else:
        new_loop = asyncio.new_event_loop

    def run(main):
        loop = new_loop()
        try:
            return loop.run_until_complete(asyncio.wait_for(main, 60))
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    return run


async def spin(condition):
    while not condition():
        await asyncio.sleep(0)


def test_async_for_ends_when_the_producer_closes(pair, run):
    out, q = pair

    async def receive():
        return [number(m) async for m in q]

    async def main():
        task = asyncio.ensure_future(receive())
        for n in range(200):
            out.push(word(n))
            if n % 7 == 0:
                await asyncio.sleep(0)
            if n % 50 == 0:
                await spin(q.empty)
        out.close()
        return await task

    assert run(main()) == list(range(200))
    assert q.stats.lost == 0


def test_a_producer_in_another_process(child, run):
    code = """if 1:
        import sys, ipcq
        out = ipcq.Producer("far", capacity=256, message_size=8, delivery="lossless",
                            min_consumers=1)
        for n in range(20_000):
            out.put(n.to_bytes(8, "little"))
    """
    there = child(code)
    q = ipcq.Consumer("far", open_timeout=60)

    async def main():
        return [number(m) async for m in q]

    assert run(main()) == list(range(20_000))
    there.end()


def test_aget(pair, run):
    out, q = pair

    async def main():
        waiting = [asyncio.ensure_future(q.aget()) for _ in range(3)]
        await asyncio.sleep(0)
        for n in range(5):
            out.push(word(n))
        # A later task is served after those.
        assert number(await q.aget()) == 3
        assert [number(await w) for w in waiting] == [0, 1, 2]
        m = await q.messages().__anext__()
        assert (m.sequence, m.lost, m.data) == (4, 0, word(4))
        for n in range(1000):
            out.push(word(n))
        m = await q.messages().__anext__()
        assert m.lost == m.sequence - 5 > 0
        assert m.data == word(m.sequence - 5)
        out.close()
        with pytest.raises(ipcq.Closed):
            while True:
                await q.aget()

    run(main())


def test_batches(pair, run):
    out, q = pair

    async def main():
        seen = []

        async def receive():
            async for batch in q.batches(max=16):
                assert batch.sequence == len(seen)
                seen.extend(map(number, batch))
            return "ended"

        task = asyncio.ensure_future(receive())
        for n in range(300):
            out.push(word(n))
            if n % 40 == 0:
                await spin(q.empty)
        await spin(q.empty)
        out.close()
        assert await task == "ended"
        assert seen == list(range(300))
        with pytest.raises(StopAsyncIteration):
            await q.batches().__anext__()

    run(main())


def test_batches_linger(pair, run):
    out, q = pair

    async def main():
        batches = q.batches(max=10, linger=60)
        task = asyncio.ensure_future(batches.__anext__())
        for n in range(10):
            assert not task.done()
            out.push(word(n))
            await asyncio.sleep(0)
        assert len(await task) == 10
        # The messages that are there when the time is over.
        out.push(word(10))
        assert len(await q.batches(linger=0.01).__anext__()) == 1
        # And when the producer closes.
        task = asyncio.ensure_future(batches.__anext__())
        out.push(word(11))
        await asyncio.sleep(0.01)
        out.close()
        assert [number(m) for m in await task] == [11]

    run(main())


def test_ten_thousand_wait(run):
    count = 10_000
    with ipcq.Producer("many", capacity=1 << 15, message_size=8) as out:
        q = ipcq.Consumer("many")

        async def main():
            order = []

            async def one(i):
                order.append((i, number(await q.aget())))

            # The loop runs before the count, so that its descriptors are not counted.
            await asyncio.sleep(0)
            descriptors = len(os.listdir("/proc/self/fd"))
            threads = len(os.listdir("/proc/self/task"))
            tasks = [asyncio.ensure_future(one(i)) for i in range(count)]
            await asyncio.sleep(0)
            # One descriptor of the consumer and one of the loop, and one thread for all tasks.
            assert len(os.listdir("/proc/self/fd")) <= descriptors + 2
            assert len(os.listdir("/proc/self/task")) <= threads + 1
            out.push_many(b"".join(word(n) for n in range(count // 2)))
            await spin(lambda: len(order) == count // 2)
            # Tasks in the middle, and every third task at the end.
            for task in tasks[6000:7000] + tasks[9000::3]:
                task.cancel()
            out.push_many(b"".join(word(n) for n in range(count // 2, count)))
            await asyncio.gather(*tasks, return_exceptions=True)
            # Tasks are served in order.
            assert [n for _, n in order] == list(range(len(order)))
            left = set(range(count)) - set(range(6000, 7000)) - set(range(9000, count, 3))
            assert [i for i, _ in order] == sorted(left)
            # The other messages are still there.
            assert [number(m) for m in q.pop_many(count)] == list(range(len(order), count))

        run(main())


@pytest.mark.parametrize("seed", range(5))
def test_cancelled_at_any_moment(run, seed):
    """A task that is cancelled at any moment takes no message with it."""
    dice = random.Random(seed)
    with ipcq.Producer("c", capacity=1 << 15, message_size=8) as out:
        q = ipcq.Consumer("c")
        total = 3000

        async def main():
            got = []
            cancelled = 0

            async def one():
                m = await q.aget()
                got.append(number(m))

            async def several():
                async for m in q:
                    got.append(number(m))

            async def together():
                async for batch in q.batches(max=3):
                    got.extend(map(number, batch))

            tasks = []
            pushed = 0
            while len(got) < total:
                # Sometimes many at once, and sometimes none.
                for _ in range(dice.choice([0, 0, 1, 2, 20])):
                    if pushed < total:
                        out.push(word(pushed))
                        pushed += 1
                for _ in range(dice.randrange(4)):
                    make = dice.choice([one, one, several, together])
                    tasks.append(asyncio.ensure_future(make()))
                for _ in range(dice.randrange(3)):
                    await asyncio.sleep(0)
                tasks = [t for t in tasks if not t.done()]
                if tasks and dice.random() < 0.7:
                    tasks[dice.randrange(len(tasks))].cancel()
                    cancelled += 1
            assert got == list(range(total))
            assert cancelled > 0
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        run(main())
        assert q.stats.received == total


def test_wait_for(pair, run):
    out, q = pair

    async def main():
        iterator = q.__aiter__()
        for _ in range(3):
            for call in (q.aget, iterator.__anext__, q.batches().__anext__):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(call(), 0.01)
        out.push(word(1))
        # It still works after that.
        assert await asyncio.wait_for(iterator.__anext__(), 30) == word(1)

    run(main())


@pytest.mark.parametrize("where", ["here", "thread"])
def test_closing_the_handle_ends_the_waits(pair, run, where):
    out, q = pair

    async def main():
        async def iterate():
            async for _ in q:
                pass

        tasks = [asyncio.ensure_future(w) for w in (q.aget(), iterate(), q.messages().__anext__())]
        await asyncio.sleep(0)
        if where == "here":
            q.close()
        else:
            thread = threading.Thread(target=q.close)
            thread.start()
            thread.join()
        for task in tasks:
            with pytest.raises(ValueError, match="closed"):
                await task
        with pytest.raises(ValueError, match="closed"):
            await q.aget()
        # The number of the descriptor is free for other files.
        other = ipcq.Consumer("pair")
        out.push(word(5))
        assert await other.aget() == word(5)

    run(main())


def test_the_other_tasks_get_their_turn(pair, run):
    """Even if there is always a message."""
    out, q = pair
    turns = 0

    async def main():
        nonlocal turns

        async def others():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.ensure_future(others())
        n = 0
        out.push(word(0))
        async for m in q:
            assert number(m) == n
            n += 1
            if n == 1000:
                break
            out.push(word(n))
        task.cancel()

    run(main())
    assert turns >= 10


def test_several_consumers_and_loops(run):
    outs = [ipcq.Producer(f"q{i}", capacity=64, message_size=8) for i in range(3)]
    qs = [ipcq.Consumer(f"q{i}") for i in range(3)]

    async def main(base):
        async def one(i):
            return [number(await qs[i].aget()) for _ in range(5)]

        tasks = [asyncio.ensure_future(one(i)) for i in range(3)]
        for n in range(5):
            for i in (2, 0, 1):
                await asyncio.sleep(0)
                outs[i].push(word(base + 10 * i + n))
        assert [await t for t in tasks] == [[base + 10 * i + n for n in range(5)] for i in range(3)]

    def descriptors():
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    run(main(0))
    before = descriptors()
    for turn in range(1, 20):
        # Each in a loop of its own. The descriptors of the loop before are closed.
        run(main(100 * turn))
    assert descriptors() <= before
    for handle in outs + qs:
        handle.close()


def test_nothing_is_left_behind(pair):
    """A consumer for which tasks have waited is collected with its loop."""
    out, _ = pair

    def abandon():
        q = ipcq.Consumer("pair")
        loop = asyncio.new_event_loop()

        async def main():
            await asyncio.wait_for(q.aget(), 60)
            return loop

        out.push(word(1))
        loop.run_until_complete(main())
        loop.close()

    gc.collect()
    abandon()
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        abandon()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_aput(run):
    with ipcq.Producer("l", capacity=4, message_size=8, delivery="lossless") as out:
        q = ipcq.Consumer("l")
        total = 500

        async def produce():
            for n in range(total):
                await out.aput(word(n))
            with pytest.raises(ipcq.MessageSizeError):
                await out.aput(b"1")

        async def main():
            task = asyncio.ensure_future(produce())
            got = [number(await q.aget()) for _ in range(total)]
            await task
            # A task that is cancelled has pushed nothing.
            for n in range(4):
                await out.aput(word(n))
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(out.aput(word(99)), 0.01)
            assert q.pop_many() == [word(n) for n in range(4)]
            return got

        assert run(main()) == list(range(total))


def test_outside_of_a_loop(pair):
    _, q = pair
    coroutine = q.aget()
    with pytest.raises(RuntimeError, match="loop"):
        coroutine.send(None)


def test_waiting_puts_are_served_in_order(run):
    """The task that has waited longest is next. Tasks that are cancelled are skipped."""
    with ipcq.Producer("l", capacity=4, message_size=8, delivery="lossless") as out:
        q = ipcq.Consumer("l")

        async def main():
            out.push_many([word(n) for n in range(4)])
            tasks = []
            for n in range(4, 40):
                tasks.append(asyncio.ensure_future(out.aput(word(n))))
                # The first task waits longer and longer. Later tasks must not pass it.
                await asyncio.sleep(0.001 if n < 8 else 0)
            for n in (4, 9, 39):
                tasks[n - 4].cancel()
            await asyncio.sleep(0)
            late = asyncio.ensure_future(out.aput(word(40)))
            got = [number(await q.aget()) for _ in range(38)]
            await asyncio.gather(late, *tasks, return_exceptions=True)
            return got

        assert run(main()) == [n for n in range(41) if n not in (4, 9, 39)]


def test_puts_in_several_loops():
    """Each loop has its own lock, and a loop that has ended leaves nothing behind."""
    with ipcq.Producer("l", capacity=2, message_size=8, delivery="lossless") as out:
        q = ipcq.Consumer("l")

        def work(first):
            async def main():
                await asyncio.gather(*(out.aput(word(n)) for n in range(first, first + 50)))

            asyncio.run(main())

        for _ in range(3):
            threads = [threading.Thread(target=work, args=(100 * i,)) for i in range(3)]
            for t in threads:
                t.start()
            got = [number(q.get(timeout=60)) for _ in range(150)]
            for t in threads:
                t.join()
            for i in range(3):
                assert [n for n in got if n // 100 == i] == list(range(100 * i, 100 * i + 50))
        from ipcq._aio import put_locks

        assert len(put_locks[out]) <= 3


def test_exceptions_of_asyncio_queues(pair):
    with pytest.raises(asyncio.QueueEmpty):
        pair[1].get_nowait()
    with ipcq.Producer("l", capacity=2, message_size=8, delivery="lossless") as out:
        _ = ipcq.Consumer("l")
        out.push_many(bytes(16))
        with pytest.raises(asyncio.QueueFull):
            out.put_nowait(bytes(8))


@pytest.mark.parametrize(
    "wait",
    [
        lambda out, q: q.aget(),
        lambda out, q: q.messages().__anext__(),
        lambda out, q: q.__aiter__().__anext__(),
        lambda out, q: q.batches().__anext__(),
        lambda out, q: q.batches(linger=1).__anext__(),
        lambda out, q: out.aput(bytes(8)),
    ],
)
def test_without_asyncio(pair, wait):
    """For example with trio: the error says what to do."""
    with pytest.raises(RuntimeError, match=r"asyncio loop.*fileno.*pop") as caught:
        wait(*pair).send(None)
    assert caught.value.__suppress_context__
    assert pair[0].next_sequence == 0


def test_a_descriptor_that_is_another_file_by_now(child):
    """A program that closes all descriptors, as daemons do, has other files with these numbers."""
    code = """if True:
    import asyncio, gc, ipcq, os
    out = ipcq.Producer("lines")
    out.push(b"x")
    q = ipcq.Consumer("lines")
    asyncio.run(q.aget())
    os.closerange(3, 256)
    mine = [open("/dev/null") for _ in range(16)]
    q.close()
    del q
    gc.collect()
    for file in mine:
        os.fstat(file.fileno())
    print("all are there", flush=True)
    os._exit(0)
    """
    assert child(code).end() == "all are there\n"
