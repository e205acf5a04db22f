"""A site in Bottle, which knows nothing of coopcore."""

import hashlib
import os
import threading
import time
from contextvars import ContextVar

from bottle import Bottle, request, response, static_file

app = Bottle()
mine = ContextVar("mine")
local = threading.local()


@app.get("/hello/<name>")
def hello(name):
    return f"Hello, {name}!"


@app.get("/visits")
def visits():
    count = request.get_cookie("visits", secret="for tests", default=0) + 1
    response.set_cookie("visits", count, path="/", secret="for tests")
    return str(count)


@app.post("/upload")
def upload():
    content = request.files["file"].file.read()
    return f"{request.forms['name']} {len(content)} {hashlib.sha256(content).hexdigest()}"


@app.post("/raw")
def raw():
    digest = hashlib.sha256()
    body = request.body  # which is at its start each time that it is asked for
    while piece := body.read(65536):
        digest.update(piece)
    return digest.hexdigest()


@app.get("/stream")
def stream():
    response.content_type = "text/plain"
    return (f"{number}\n" * 100 for number in range(1000))


@app.get("/context/<number>")
def context(number):
    request.number = number
    mine.set(number)
    local.number = number
    response.set_header("X-Number", number)
    time.sleep(0.05)
    mine_still = response.get_header("X-Number") == number and local.number == number
    return f"{request.number} {mine.get()} {request.url_args['number']} {request.query['number']} {mine_still}"


@app.get("/static/<name:path>")
@app.get("/file/<name:path>")
def file(name):
    return static_file(name, root=os.environ["SITE_FILES"])


@app.get("/fails")
def fails():
    raise LookupError("a secret of the application")
