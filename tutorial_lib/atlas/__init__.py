"""The epilog atlas, ``book/epilogs.md``: its facts come from running the reference."""
