"""Each task has its own attributes of a local().

Expected output:

    x = 1
    y = 2
    x is not local to f2
"""

from coop_plugins.local import local
from coopcore import joinall, spawn

stash = local()


def f1():
    stash.x = 1
    print("x =", stash.x)


def f2():
    stash.y = 2
    print("y =", stash.y)
    try:
        print("x =", stash.x)
    except AttributeError:
        print("x is not local to f2")


def main():
    joinall([spawn(f1), spawn(f2)])


if __name__ == "__main__":
    main()
