"""Any of the sites with the standard library's validator around it."""

import importlib
import os
from wsgiref.validate import validator

app = validator(importlib.import_module(os.environ["SITE_MODULE"]).app)
