"""Every hook that the built-in plugins implement. Strings only, so that discovery imports nothing else."""

from __future__ import annotations

from coopcore.lowlevel import Offer, Patch, hookimpl


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
        Patch(
            "socket",
            "coop_plugins.socket",
            (
                "socket",
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
    ]


@hookimpl
def coop_commands() -> list[Offer]:
    return [Offer("run", "coop_plugins.patch:main", "run a script or a module with the standard library patched")]
