"""Features in real time: events in, rows out, the same arithmetic as over history.

Import from the modules; this package imports nothing by itself.
"""
