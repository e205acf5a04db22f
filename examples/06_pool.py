"""A pool runs so many tasks at once and no more.

A task that has ended is a member until the others that were ready have run, so the third starts alone.

Expected output:

    Size of pool 2
    Size of pool 2
    Size of pool 1
"""

from coop_plugins.pool import Pool

pool = Pool(2)


def hello(n):
    print("Size of pool", len(pool))


def main():
    pool.map(hello, range(3))


if __name__ == "__main__":
    main()
