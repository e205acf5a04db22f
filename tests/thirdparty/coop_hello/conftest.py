"""Its tests run where it is installed; elsewhere they are left out."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("coop_hello") else ["tests"]
