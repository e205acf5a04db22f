"""Each request of a web application in a local of its own, behind a proxy that the whole program shares.

Needs the extra `demo` (httptools and werkzeug). Serves until it is interrupted (Ctrl-C), at port 8000 or at the one that is given; 0 takes a free one:

    python 09_web_sessions.py 0

Expected output, with the port that was taken; http://127.0.0.1:8000/a then answers `Hello 127.0.0.1 /a`:

    Serving on http://127.0.0.1:8000/
"""

import random
import sys

from werkzeug.local import LocalProxy
from werkzeug.wrappers import Request

from coop_plugins.local import local
from coop_plugins.wsgi import WSGIServer
from coopcore import sleep

session = local()
request = LocalProxy(lambda: session.request)


def greeting():
    # Other requests arrive while this one sleeps; `request` still means this one.
    sleep(random.uniform(0, 0.02))
    return f"Hello {request.remote_addr} {request.path}"


def application(environ, start_response):
    session.request = Request(environ)
    body = greeting().encode()
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]


def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    with WSGIServer(("", port), application) as server:
        server.start()
        print(f"Serving on http://127.0.0.1:{server.server_port}/", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
