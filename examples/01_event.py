"""One task waits for what another one will say: AsyncResult and Event.

Expected output, the first line after three seconds:

    I live!
    waiter 1 saw the event
    waiter 2 saw the event
    waiter 3 saw the event
    the value is 42
    and it is still 42
    waiter 1 got an error: the answer is lost
    waiter 2 got an error: the answer is lost
    the task returned 6 times 7 = 42
"""

from coop_plugins.event import AsyncResult, Event
from coopcore import joinall, sleep, spawn, spawn_later

signal = AsyncResult()


def setter():
    """After three seconds, wake whoever waits."""
    sleep(3)
    signal.set()


def waiter():
    """Wait in get(), until the value is there."""
    signal.get()
    print("I live!")


def all_waiters_of_an_event_wake():
    event = Event()

    def wait_for_it(n):
        event.wait()
        print(f"waiter {n} saw the event")

    joinall([spawn(wait_for_it, 1), spawn(wait_for_it, 2), spawn(wait_for_it, 3), spawn_later(0.1, event.set)])


def a_value_that_arrives_later():
    result = AsyncResult()
    spawn_later(0.1, result.set, 42)
    print("the value is", result.get())
    # It is there now, so this returns at once.
    print("and it is still", result.get())


def an_error_for_every_waiter():
    result = AsyncResult()

    def wait_for_it(n):
        try:
            result.get()
        except LookupError as error:
            print(f"waiter {n} got an error: {error}")

    joinall([spawn(wait_for_it, 1), spawn(wait_for_it, 2), spawn(result.set_exception, LookupError("the answer is lost"))])


def the_future_of_a_task():
    result = AsyncResult()
    task = spawn(lambda: 6 * 7)
    task.link(result)
    print("the task returned 6 times 7 =", result.get())


def main():
    joinall([spawn(setter), spawn(waiter)])
    all_waiters_of_an_event_wake()
    a_value_that_arrives_later()
    an_error_for_every_waiter()
    the_future_of_a_task()


if __name__ == "__main__":
    main()
