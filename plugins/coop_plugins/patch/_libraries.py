"""Libraries that wait inside compiled code, and what to do about each."""

from __future__ import annotations

_OFFLOAD = "Call it through coop_plugins.threadpool.offload."

# Only where it was told so, or where `select` is not patched: see `_psycopg`.
PSYCOPG = "Patch select as well, and unset PSYCOPG_WAIT_FUNC, or set it to wait_poll."

LIBRARIES = {
    "psycopg2": "Give it a wait callback (psycopg2.extensions.set_wait_callback) made of coopcore.lowlevel.wait_readable and wait_writable, or use psycopg 3.",
    "MySQLdb": f"{_OFFLOAD} Or use PyMySQL, which is pure Python.",
    "mysql.connector": "Pass use_pure=True: its C extension blocks.",
    "pymssql": _OFFLOAD,
    "pyodbc": _OFFLOAD,
    "cx_Oracle": f"{_OFFLOAD} Or use oracledb in its thin mode.",
    "pylibmc": f"{_OFFLOAD} Or use pymemcache.",
    "pycurl": f"{_OFFLOAD} Or use requests or urllib3.",
    "grpc": f"{_OFFLOAD} It has threads of its own, which call back outside of any task.",
    "zmq": "Use zmq.Socket.getsockopt(zmq.FD) with coopcore.lowlevel.wait_readable, or offload.",
    "confluent_kafka": _OFFLOAD,
    "couchbase": _OFFLOAD,
    "pyarrow.flight": _OFFLOAD,
    "uvloop": "It is an event loop of its own; run asyncio on the standard loop, upon coop_plugins.selectors.",
}
