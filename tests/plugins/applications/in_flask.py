"""A site in Flask, which knows nothing of coopcore."""

import hashlib
import os
import threading
import time
from contextvars import ContextVar

from flask import Flask, Response, current_app, g, request, send_from_directory, session

app = Flask(__name__, static_folder=os.environ["SITE_FILES"], static_url_path="/static")
app.secret_key = "for tests"
mine = ContextVar("mine")
local = threading.local()


@app.get("/hello/<name>")
def hello(name):
    return f"Hello, {name}!"


@app.get("/visits")
def visits():
    session["visits"] = session.get("visits", 0) + 1
    return str(session["visits"])


@app.post("/upload")
def upload():
    content = request.files["file"].read()
    return f"{request.form['name']} {len(content)} {hashlib.sha256(content).hexdigest()}"


@app.post("/raw")
def raw():
    digest = hashlib.sha256()
    while piece := request.stream.read(65536):
        digest.update(piece)
    return digest.hexdigest()


@app.get("/stream")
def stream():
    return Response((f"{number}\n" * 100 for number in range(1000)), mimetype="text/plain")


@app.get("/context/<number>")
def context(number):
    g.number = number
    mine.set(number)
    local.number = number
    time.sleep(0.05)
    return f"{g.number} {mine.get()} {request.view_args['number']} {request.args['number']} {current_app.name == __name__ and local.number == number}"


@app.get("/file/<path:name>")
def file(name):
    return send_from_directory(os.environ["SITE_FILES"], name, conditional=True)


@app.get("/fails")
def fails():
    raise LookupError("a secret of the application")
