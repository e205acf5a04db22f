"""Three workers share a queue of tasks.

The order is strict: whoever spawns, yields or is woken goes to the end of the line. Tutorials of older frameworks show another one.

Expected output:

    Worker steve got task 1
    Worker john got task 2
    Worker nancy got task 3
    Worker steve got task 4
    Worker john got task 5
    Worker nancy got task 6
    Worker steve got task 7
    Worker john got task 8
    Worker nancy got task 9
    Worker steve got task 10
    Worker john got task 11
    Worker nancy got task 12
    Worker steve got task 13
    Worker john got task 14
    Worker nancy got task 15
    Worker steve got task 16
    Worker john got task 17
    Worker nancy got task 18
    Worker steve got task 19
    Worker john got task 20
    Worker nancy got task 21
    Worker steve got task 22
    Worker john got task 23
    Worker nancy got task 24
    Quitting time!
    Quitting time!
    Quitting time!
"""

from coop_plugins.queue import Queue
from coopcore import joinall, sleep, spawn

tasks = Queue()


def worker(name):
    while not tasks.empty():
        task = tasks.get()
        print(f"Worker {name} got task {task}")
        sleep(0)
    print("Quitting time!")


def boss():
    for task in range(1, 25):
        tasks.put_nowait(task)


def main():
    spawn(boss).join()
    joinall([spawn(worker, "steve"), spawn(worker, "john"), spawn(worker, "nancy")])


if __name__ == "__main__":
    main()
