"""A site in Django, which knows nothing of coopcore. The database is left out; sessions are in cookies."""

# ruff: noqa: E402  # Django's settings come before its parts are imported

import hashlib
import os
import threading
import time
from contextvars import ContextVar

from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["*"],
    DEBUG=False,
    DATA_UPLOAD_MAX_MEMORY_SIZE=100_000_000,
    LOGGING_CONFIG=None,
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware", "django.middleware.locale.LocaleMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="for tests",
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    USE_I18N=True,
)

import django
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path, re_path
from django.utils import translation
from django.views.static import serve

django.setup()
mine = ContextVar("mine")
local = threading.local()


def hello(request, name):
    return HttpResponse(f"Hello, {name}!")


def visits(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(str(request.session["visits"]))


def upload(request):
    content = request.FILES["file"].read()
    return HttpResponse(f"{request.POST['name']} {len(content)} {hashlib.sha256(content).hexdigest()}")


def raw(request):
    digest = hashlib.sha256()
    while piece := request.read(65536):
        digest.update(piece)
    return HttpResponse(digest.hexdigest())


def stream(request):
    return StreamingHttpResponse((f"{number}\n" * 100 for number in range(1000)), content_type="text/plain")


def context(request, number):
    local.number = number
    mine.set(number)
    language = "de" if int(number) % 2 else "fr"
    translation.activate(language)
    time.sleep(0.05)
    return HttpResponse(f"{local.number} {mine.get()} {number} {request.GET['number']} {translation.get_language() == language}")


def fails(request):
    raise LookupError("a secret of the application")


files = {"document_root": os.environ["SITE_FILES"]}
urlpatterns = [
    path("hello/<name>", hello),
    path("visits", visits),
    path("upload", upload),
    path("raw", raw),
    path("stream", stream),
    path("context/<number>", context),
    re_path(r"^static/(?P<path>.*)$", serve, files),
    re_path(r"^file/(?P<path>.*)$", serve, files),
    path("fails", fails),
]

app = get_wsgi_application()
