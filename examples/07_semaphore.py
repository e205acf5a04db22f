"""A semaphore lets two in at a time; with one permit it is a lock.

The order is strict: whoever spawns, yields or is woken goes to the end of the line. Tutorials of older frameworks show another one.

Expected output:

    Worker 0 acquired semaphore
    Worker 1 acquired semaphore
    Worker 0 released semaphore
    Worker 1 released semaphore
    Worker 3 acquired semaphore
    Worker 4 acquired semaphore
    Worker 3 released semaphore
    Worker 4 released semaphore
    Worker 5 acquired semaphore
    Worker 5 released semaphore
    100 tasks counted with a lock: 100
    100 tasks counted without one: 1
"""

from coop_plugins.lock import BoundedSemaphore, Semaphore
from coop_plugins.pool import Pool
from coopcore import joinall, sleep, spawn

semaphore = BoundedSemaphore(2)


def worker1(n):
    semaphore.acquire()
    print(f"Worker {n} acquired semaphore")
    sleep(0)
    semaphore.release()
    print(f"Worker {n} released semaphore")


def worker2(n):
    with semaphore:
        print(f"Worker {n} acquired semaphore")
        sleep(0)
    print(f"Worker {n} released semaphore")


class Counter:
    value = 0

    def increment(self):
        """Not safe by itself: another task may run between the read and the write."""
        value = self.value
        sleep(0)
        self.value = value + 1


def count_with_a_lock():
    counter = Counter()
    lock = Semaphore(1)

    def increment():
        with lock:
            counter.increment()

    joinall([spawn(increment) for _ in range(100)])
    print("100 tasks counted with a lock:", counter.value)


def count_without_a_lock():
    counter = Counter()
    joinall([spawn(counter.increment) for _ in range(100)])
    print("100 tasks counted without one:", counter.value)


def main():
    pool = Pool()
    pool.map(worker1, range(2))
    pool.map(worker2, range(3, 6))
    count_with_a_lock()
    count_without_a_lock()


if __name__ == "__main__":
    main()
