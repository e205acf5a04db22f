"""Every hook that the built-in plugins implement. Strings only, so that discovery imports nothing else."""

from __future__ import annotations

from coopcore.lowlevel import Offer, Patch, hookimpl

_RARE_SELECTORS = ("DevpollSelector", "EpollSelector", "KqueueSelector", "PollSelector")


_CLOCK = ("monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "time", "time_ns")
_THREADS = "coop_plugins.threading._names"
_KNOW_REAL_THREADS = (
    *("_readiness", "_threads", "backends.epoll", "backends.selectors", "event", "lock", "os", "pool", "queue", "signal"),
    *("socket", "subprocess", "threadpool"),
)


@hookimpl
def coop_backends() -> list[Offer]:
    return [
        Offer("epoll", "coop_plugins.backends.epoll:EpollBackend", "Linux epoll, edge-triggered: no system call per wait (default on Linux)"),
        Offer("selectors", "coop_plugins.backends.selectors:SelectorsBackend", "the standard library's selectors, on every Unix"),
    ]


@hookimpl
def coop_networks() -> list[Offer]:
    return [Offer("kernel", "coop_plugins.socket:KernelNetwork", "the operating system's sockets (default)")]


@hookimpl
def coop_resolvers() -> list[Offer]:
    return [
        Offer("thread", "coop_plugins.resolver:ThreadResolver", "the system's look-ups, in threads (default)"),
        Offer("dnspython", "coop_plugins.resolver.dnspython:DnsResolver", "asks name servers itself, without threads; needs the extra dns"),
        Offer("block", "coop_plugins.resolver.block:BlockResolver", "the system's look-ups, which stop every task meanwhile"),
    ]


@hookimpl
def coop_clocks() -> list[Offer]:
    return [Offer("virtual", "coop_plugins.clock:VirtualClock", "stands still while anything can run, and jumps when nothing can")]


@hookimpl
def coop_primitives() -> list[Offer]:
    return [
        Offer("Event", "coop_plugins.event:Event", "a flag to wait for", replaces="threading.Event"),
        Offer("AsyncResult", "coop_plugins.event:AsyncResult", "a value or an error that comes later"),
        Offer("Queue", "coop_plugins.queue:Queue", "a FIFO with room for so many", replaces="queue.Queue"),
        Offer("LifoQueue", "coop_plugins.queue:LifoQueue", "the newest item first: a stack", replaces="queue.LifoQueue"),
        Offer("PriorityQueue", "coop_plugins.queue:PriorityQueue", "the least item first", replaces="queue.PriorityQueue"),
        Offer("SimpleQueue", "coop_plugins.queue:SimpleQueue", "a FIFO that counts no tasks", replaces="queue.SimpleQueue"),
        Offer("Channel", "coop_plugins.queue:Channel", "an item from hand to hand: who puts waits until somebody gets"),
        Offer("Semaphore", "coop_plugins.lock:Semaphore", "so many permits, first come first served", replaces="threading.Semaphore"),
        Offer("BoundedSemaphore", "coop_plugins.lock:BoundedSemaphore", "a semaphore that refuses a release too many", replaces="threading.BoundedSemaphore"),
        Offer("Lock", "coop_plugins.lock:Lock", "one holder at a time, first come first served", replaces="threading.Lock"),
        Offer("RLock", "coop_plugins.lock:RLock", "a lock that its owner can acquire again", replaces="threading.RLock"),
        Offer("Condition", "coop_plugins.lock:Condition", "a lock, and notifications for those who wait", replaces="threading.Condition"),
        Offer("Barrier", "coop_plugins.lock:Barrier", "a meeting point for so many", replaces="threading.Barrier"),
        Offer("DummySemaphore", "coop_plugins.lock:DummySemaphore", "a semaphore that never runs out"),
        Offer("Group", "coop_plugins.pool:Group", "tasks that are joined and killed together"),
        Offer("Pool", "coop_plugins.pool:Pool", "a group of at most so many"),
        Offer("TaskGroup", "coop_plugins.scope:TaskGroup", "tasks that end where they began"),
        Offer("CancelScope", "coop_plugins.scope:CancelScope", "a block of code that can be cancelled"),
        Offer("local", "coop_plugins.local:local", "attributes of a task's own", replaces="threading.local"),
    ]


@hookimpl
def coop_patches() -> list[Patch]:
    return [
        Patch("signal", "coop_plugins.signal", ("signal", "getsignal", "set_wakeup_fd"), rare=("pause", "sigtimedwait", "sigwait", "sigwaitinfo")),
        Patch(
            "subprocess",
            "coop_plugins.subprocess",
            ("Popen", "call", "check_call", "check_output", "getoutput", "getstatusoutput", "run"),
        ),
        Patch(
            "socket",
            "coop_plugins.socket",
            (
                "socket",
                "close",
                "create_connection",
                "create_server",
                "fromfd",
                "getaddrinfo",
                "getfqdn",
                "gethostbyaddr",
                "gethostbyname",
                "gethostbyname_ex",
                "getnameinfo",
                "socketpair",
            ),
        ),
        Patch("select", "coop_plugins.select", ("select",), rare=("devpoll", "epoll", "kqueue", "poll")),
        Patch("selectors", "coop_plugins.selectors", ("DefaultSelector", "SelectSelector"), rare=_RARE_SELECTORS),
        Patch("os", "coop_plugins.os", ("popen", "system", "wait", "wait3", "wait4", "waitpid"), rare=("waitid",)),
        Patch("posix", "coop_plugins.os", ("system", "wait", "wait3", "wait4", "waitpid"), rare=("waitid",), part="os"),  # where os has them from
        # The hub's own ways to wait need the real things, whenever they are imported.
        Patch("select", "coop_plugins.backends.epoll"),
        Patch("selectors", "coop_plugins.backends.selectors"),
        Patch("socket", "coop_plugins.backends.selectors"),
        Patch(
            "_thread",
            _THREADS,
            ("LockType", "RLock", "_count", "_local", "allocate", "allocate_lock", "get_ident", "start_new", "start_new_thread"),
            rare=("_ThreadHandle", "_make_thread_handle", "_set_sentinel", "lock", "start_joinable_thread"),
            part="thread",
        ),
        Patch(
            "threading",
            _THREADS,
            ("Lock", "RLock", "_CRLock", "_DummyThread", "_allocate_lock", "_make_invoke_excepthook", "get_ident", "local"),
            rare=(
                "_LockType",
                "_ThreadHandle",
                "_get_main_thread_ident",
                "_make_thread_handle",
                "_set_sentinel",
                "_start_joinable_thread",
                "_start_new_thread",
                "_thread_local_info",
            ),
            apply="apply",
            part="thread",
        ),
        Patch("time", "coop_plugins.clock", _CLOCK, part="clock", on_request=True),
        Patch("datetime", "coop_plugins.clock", ("date", "datetime"), part="clock", on_request=True),
        # They know the real threads by what they find when they are imported.
        *(Patch("_thread", f"coop_plugins.{name}", part="thread") for name in _KNOW_REAL_THREADS),
        Patch("socket", "coop_plugins.threading._processes", apply="apply"),
        Patch("queue", _THREADS, ("SimpleQueue",)),
        Patch("_queue", _THREADS, ("SimpleQueue",), part="queue"),
        Patch("time", _THREADS, ("sleep",)),
        Patch("ssl", "coop_plugins.ssl", ("SSLSocket", "create_connection"), apply="_make_sockets_cooperative"),
        Patch("select", "coop_plugins.patch._psycopg", apply="wait_in_python"),
    ]


@hookimpl
def coop_commands() -> list[Offer]:
    return [
        Offer("run", "coop_plugins.patch:main", "run a script or a module with the standard library patched"),
        Offer("serve", "coop_plugins.serve:main", "serve a WSGI application"),
    ]
