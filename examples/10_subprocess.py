"""Other tasks go on while the main program waits for a child process.

Expected output, over a second; cron comes five or six times:

    cron
    cron
    cron
    cron
    cron
    Linux
"""

from coop_plugins.subprocess import PIPE, Popen
from coopcore import sleep, spawn


def cron():
    while True:
        print("cron")
        sleep(0.2)


def main():
    task = spawn(cron)
    child = Popen(["sleep 1; uname"], stdout=PIPE, shell=True)
    output, _ = child.communicate()
    task.kill()
    print(output.rstrip().decode())


if __name__ == "__main__":
    main()
