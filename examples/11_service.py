"""A service around a pool: fifty clients at once, and never more than ten handlers at work.

Expected output:

    all 50 clients were served
    at most 10 handlers were at work at once
"""

from coop_plugins.pool import Pool
from coop_plugins.server import StreamServer
from coop_plugins.socket import create_connection
from coopcore import joinall, sleep, spawn

at_work = 0
most_at_work = 0


def handle(client, address):
    global at_work, most_at_work
    at_work += 1
    most_at_work = max(most_at_work, at_work)
    question = client.recv(100)
    sleep(0.01)  # what a database would take
    client.sendall(question.upper())
    at_work -= 1


def ask(address, question):
    with create_connection(address) as connection:
        connection.sendall(question.encode())
        return connection.recv(100).decode()


def main():
    # When ten handlers are at work the server leaves further clients in the system's queue.
    with StreamServer(("127.0.0.1", 0), handle, spawn=Pool(10)) as server:
        server.start()
        clients = [spawn(ask, server.address, f"client {n}") for n in range(50)]
        joinall(clients, raise_error=True)
        answers = [client.value for client in clients]
    if answers == [f"CLIENT {n}" for n in range(50)]:
        print("all 50 clients were served")
    print(f"at most {most_at_work} handlers were at work at once")


if __name__ == "__main__":
    main()
