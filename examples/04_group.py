"""A group joins tasks together, whenever they are added.

Expected output:

    bar
    bar
    bar
    foo
    foo
    foo
    fizz
    fizz
    fizz
"""

from coop_plugins.pool import Group
from coopcore import spawn


def talk(message):
    for _ in range(3):
        print(message)


def main():
    bar = spawn(talk, "bar")
    foo = spawn(talk, "foo")
    fizz = spawn(talk, "fizz")

    group = Group()
    group.add(bar)
    group.add(foo)
    group.join()

    group.add(fizz)
    group.join()


if __name__ == "__main__":
    main()
