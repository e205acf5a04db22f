"""Every order in which a few tasks can use a primitive: the search, what it runs, and what must hold in each.

`explorer` knows schedules and nothing of primitives; `programs` runs small programs in lock-step with a model; `models` says what each primitive does;
`scenes` are for what has no such model: groups, pools and scopes; `cases` lists what is run; `broken` are primitives with bugs, which must be found.
"""
