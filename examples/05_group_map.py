"""map, imap and imap_unordered: a function over many items, each in a task of its own.

Expected output; the numbers of the tasks are three different ones, and the results take three seconds each time:

    Size of group 3
    Hello from task <number>
    Size of group 3
    Hello from task <number>
    Size of group 3
    Hello from task <number>
    ('task', 0)
    ('task', 1)
    ('task', 2)
    ('task', 2)
    ('task', 1)
    ('task', 0)
"""

from coop_plugins.pool import Group
from coopcore import getcurrent, sleep

group = Group()


def hello(n):
    print("Size of group", len(group))
    print("Hello from task", getcurrent().ident)


def intensive(n):
    sleep(3 - n)
    return "task", n


def main():
    group.map(hello, range(3))

    # In the order of the items ...
    for result in Group().imap(intensive, range(3)):
        print(result)

    # ... and in the order in which they are done.
    for result in Group().imap_unordered(intensive, range(3)):
        print(result)


if __name__ == "__main__":
    main()
