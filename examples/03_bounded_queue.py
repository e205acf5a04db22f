"""A queue with room for three: the boss waits whenever the workers lag behind.

The order is strict: whoever spawns, yields or is woken goes to the end of the line. Tutorials of older frameworks show another one.

Expected output, the last lines after a second:

    Worker steve got task 1
    Worker john got task 2
    Worker bob got task 3
    Worker steve got task 4
    Worker john got task 5
    Worker bob got task 6
    Assigned all work in iteration 1
    Worker steve got task 7
    Worker john got task 8
    Worker bob got task 9
    Worker steve got task 10
    Worker john got task 11
    Worker bob got task 12
    Worker steve got task 13
    Worker john got task 14
    Worker bob got task 15
    Worker steve got task 16
    Worker john got task 17
    Worker bob got task 18
    Assigned all work in iteration 2
    Worker steve got task 19
    Quitting time!
    Quitting time!
    Quitting time!
    put: the queue stayed full for 0.1 seconds
    put_nowait: the queue is full
    get_nowait: the queue is empty
"""

from coop_plugins.queue import Empty, Full, Queue
from coopcore import joinall, sleep, spawn

tasks = Queue(maxsize=3)


def worker(name):
    try:
        while True:
            task = tasks.get(timeout=1)
            print(f"Worker {name} got task {task}")
            sleep(0)
    except Empty:
        print("Quitting time!")


def boss():
    """Hand out work; put() waits while the queue is full."""
    for task in range(1, 10):
        tasks.put(task)
    print("Assigned all work in iteration 1")
    for task in range(10, 20):
        tasks.put(task)
    print("Assigned all work in iteration 2")


def full_and_empty():
    box = Queue(maxsize=1)
    box.put("something")
    try:
        box.put("more", timeout=0.1)
    except Full:
        print("put: the queue stayed full for 0.1 seconds")
    try:
        box.put_nowait("more")
    except Full:
        print("put_nowait: the queue is full")
    box.get()
    try:
        box.get_nowait()
    except Empty:
        print("get_nowait: the queue is empty")


def main():
    joinall([spawn(boss), spawn(worker, "steve"), spawn(worker, "john"), spawn(worker, "bob")])
    full_and_empty()


if __name__ == "__main__":
    main()
