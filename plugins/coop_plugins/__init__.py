"""The built-in plugins of coopcore. Each module is one; none is imported before it is used."""
