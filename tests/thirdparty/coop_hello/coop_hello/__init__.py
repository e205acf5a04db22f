"""A plugin for coopcore: a backend on ``select.select``, a timer queue, and a read-write lock."""
