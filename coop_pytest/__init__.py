"""The pytest plugin of coopcore."""
