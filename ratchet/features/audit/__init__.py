"""Whether features are what they were: in serving, in their distribution, in their use.

Import from the modules: this package imports nothing by itself, so that the server can write its log without pandas.
"""
