"""What type checkers see of the built-in primitives. Checked by ``make lint`` (mypy --strict), never run."""

from __future__ import annotations

import concurrent.futures
from typing import Any, Literal, assert_type

from coop_plugins import file, os, select, selectors, signal, socket, ssl, threading
from coop_plugins.event import AsyncResult, Event
from coop_plugins.local import local
from coop_plugins.lock import Barrier, BoundedSemaphore, Condition, DummySemaphore, Lock, RLock, Semaphore
from coop_plugins.pool import Group, Pool
from coop_plugins.queue import Channel, Empty, Full, LifoQueue, PriorityQueue, Queue, SimpleQueue
from coop_plugins.resolver import ThreadResolver, current_resolver, use_resolver
from coop_plugins.scope import CancelScope, TaskGroup, current_time, fail_after, move_on_after
from coop_plugins.threadpool import Future, ProcessPoolExecutor, ThreadPool, ThreadPoolExecutor, ThreadResult, await_future, offload, shared_pool
from coopcore import Task, get_hub, iwait, spawn
from coopcore.lowlevel import FdWait
from coopcore.protocols import Resolver, Waitable


def length(text: str) -> int:
    return len(text)


def events() -> None:
    event = Event()
    assert_type(event.wait(timeout=1), bool)
    result: AsyncResult[int] = AsyncResult()
    result.set(3)
    assert_type(result.get(timeout=1), int)
    assert_type(result.value, int | None)
    spawn(length, "abc").link(result)


def queues() -> None:
    queue: Queue[int] = Queue(maxsize=3)
    queue.put(1, timeout=1)
    queue.put_nowait(2)
    assert_type(queue.get(), int)
    assert_type(queue.get(timeout=1), int)
    assert_type(queue.get_nowait(), int)
    assert_type(queue.peek(), int)
    assert_type(queue.qsize(), int)
    errors: list[type[Exception]] = [Empty, Full]
    assert errors


def other_queues() -> None:
    for queue in (LifoQueue[int](2), PriorityQueue[int](2), SimpleQueue[int](2), Queue[int](2)):
        queue.put(1, timeout=1)
        assert_type(queue.get(timeout=1), int)
        assert_type(queue.peek_nowait(), int)
    assert_type(Queue[int]().copy(), Queue[int])
    assert_type(Queue[int]().join(timeout=1), bool)
    channel: Channel[str] = Channel()
    channel.put("item", timeout=1)
    assert_type(channel.get(timeout=1), str)
    assert_type(channel.balance, int)
    for item in channel:
        assert_type(item, str)


def locks() -> None:
    for semaphore in (Semaphore(2), BoundedSemaphore(2)):
        assert_type(semaphore.acquire(timeout=1), bool)
        with semaphore:
            assert_type(semaphore.locked(), bool)

    for lock in (Lock(), RLock()):
        assert_type(lock.acquire(timeout=1), bool)
        assert_type(lock.release(), None)
        with lock:
            assert_type(lock.locked(), bool)
        condition = Condition(lock)
        assert_type(condition.acquire(timeout=1), bool)
        assert_type(condition.wait(timeout=1), bool)
        assert_type(condition.wait_for(lambda: 3, timeout=1), int)
        condition.notify(2)
        condition.notify_all()
    with Condition(DummySemaphore()) as got:
        assert_type(got, bool)
    barrier = Barrier(2, action=print, timeout=1)
    assert_type(barrier.wait(timeout=1), int)
    assert_type(barrier.broken, bool)


def groups() -> None:
    for group in (Group(), Pool(2)):
        assert_type(group.spawn(length, "abc"), Task[int])
        assert_type(group.map(length, ["a", "b"]), list[int])
        assert_type(list(group.imap(length, ["a"], maxsize=1)), list[int])
        assert_type(list(group.imap_unordered(length, ["a"])), list[int])
        assert_type(group.apply(length, ("abc",)), int)
        assert_type(len(group), int)
        group.join(timeout=1, raise_error=True)
        group.kill(timeout=1)


def scopes() -> None:
    with TaskGroup() as group:
        assert_type(group, TaskGroup)
        assert_type(group.spawn(length, "abc"), Task[int])
        assert_type(group.tasks, tuple[Task[Any], ...])
        assert_type(group.cancel_scope, CancelScope)
    with move_on_after(1) as scope, fail_after(None, shield=True):
        assert_type(scope, CancelScope)
        scope.deadline = current_time() + 1
        scope.shield = True
        scope.cancel()
    assert_type(scope.deadline, float)
    assert_type(scope.cancel_called, bool)
    assert_type(scope.cancelled_caught, bool)


def threads() -> None:
    assert_type(offload(length, "abc"), int)
    pool = ThreadPool(2, idle_task_timeout=1)
    assert_type(pool.spawn(length, "abc"), ThreadResult[int])
    assert_type(pool.spawn(length, "abc").get(timeout=1), int)
    assert_type(pool.apply(length, ("abc",)), int)
    assert_type(pool.map(length, ["a", "b"]), list[int])
    assert_type(list(pool.imap(length, ["a"], maxsize=1)), list[int])
    assert_type(pool.apply_async(length, ("abc",)), Task[int])
    assert_type(pool.join(timeout=1), bool)
    shared_pool().maxsize = 20
    with ThreadPoolExecutor(2) as executor, ProcessPoolExecutor(2) as processes:
        for maker in (executor, processes):
            assert_type(maker.submit(length, "abc"), Future[int])
            assert_type(maker.submit(length, "abc").result(timeout=1), int)
            assert_type(list(maker.map(length, ["a"])), list[int])
    standard: concurrent.futures.Future[int] = executor.submit(length, "abc")
    assert_type(await_future(standard, timeout=1), int)


def resolvers() -> None:
    assert_type(current_resolver(), Resolver)
    assert_type(use_resolver("block"), Resolver)
    assert_type(use_resolver(ThreadResolver()), Resolver)
    assert_type(current_resolver().gethostbyname("localhost"), str)


def locals_() -> None:
    mine = local()
    mine.name = "anything"


def descriptors() -> None:
    assert_type(select.select([0], [], [], 1.0), tuple[list[Any], list[Any], list[Any]])
    poll = select.poll()
    poll.register(0, select.POLLIN | select.POLLPRI)
    assert_type(poll.poll(100), list[tuple[int, int]])
    with select.epoll() as epoll:
        assert_type(epoll, select.epoll)
        epoll.register(0, select.EPOLLIN | select.EPOLLET)
        assert_type(epoll.poll(1.0, maxevents=2), list[tuple[int, int]])
    with selectors.DefaultSelector() as selector:
        assert_type(selector.register(0, selectors.EVENT_READ), selectors.SelectorKey)
        assert_type(selector.select(1), list[tuple[selectors.SelectorKey, int]])
    with selectors.EpollSelector() as other:
        assert_type(other.select(1), list[tuple[selectors.SelectorKey, int]])


def files() -> None:
    with file.open("name", "w", encoding="utf-8") as made:
        made.write("text")
    assert_type(os.read(0, 100), bytes)
    assert_type(os.nb_read(0, 100), bytes)
    assert_type(os.write(1, b"data"), int)
    assert_type(os.waitpid(-1, os.WNOHANG), tuple[int, int])
    assert_type(os.system("true"), int)


def signals() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN, ref=False)
    handler = signal.signal_handler(signal.SIGHUP, print, "hangup", flush=True)
    assert_type(handler.ref, bool)
    handler.cancel()
    assert_type(signal.set_wakeup_fd(-1), int)
    assert_type(signal.raise_signal(signal.SIGHUP), None)
    with signal.graceful_exit(timeout=5, signals=[signal.SIGTERM]) as ending:
        assert_type(ending.signum, int | None)


def between_threads() -> None:
    lock = threading.Lock()
    assert_type(lock.acquire(timeout=1), bool)
    with threading.RLock() as taken:
        assert_type(taken, bool)
    items: threading.SimpleQueue[int] = threading.SimpleQueue()
    items.put(1)
    assert_type(items.get(timeout=1.5), int)
    assert_type(threading.get_ident(), int)
    assert_type(threading.start_new_thread(length, ("abc",)), int)
    threading.REAL.add("my_package")
    threading.sleep(0.5)


def sockets(connection: socket.socket) -> None:
    assert_type(connection.recv(10), bytes)
    assert_type(connection.accept()[0], socket.socket)
    assert_type(connection.sendmsg([b"data"]), int)
    assert_type(connection.timeout, float | None)
    assert_type(socket.create_connection(("localhost", 80), timeout=1), socket.socket)
    assert_type(socket.socketpair(), tuple[socket.socket, socket.socket])
    wait = get_hub().fd_wait(connection.fileno(), 1)
    assert_type(wait, FdWait)
    assert_type(wait.park(), bool)


def tls(plain: ssl.socket, connection: ssl.SSLSocket) -> None:
    context = ssl.create_default_context()
    assert_type(context, ssl.SSLContext)
    assert_type(context.wrap_socket(plain).version(), str | None)
    assert_type(connection.recv(10), bytes)
    assert_type(connection.recv_into(bytearray(10)), int)
    assert_type(connection.send(b"data"), int)
    assert_type(connection.getpeercert(True), bytes | None)
    assert_type(connection.gettimeout(), float | None)
    assert_type(ssl.get_server_certificate(("localhost", 443), timeout=1), str)
    assert_type(ssl.CERT_REQUIRED, Literal[ssl.VerifyMode.CERT_REQUIRED])


def all_of_them_can_be_waited_for() -> None:
    things: list[Waitable] = [Event(), AsyncResult[int](), Semaphore(), Lock(), RLock(), spawn(length, "abc")]
    for thing in iwait(things, timeout=1, count=1):
        assert_type(thing, Waitable)
