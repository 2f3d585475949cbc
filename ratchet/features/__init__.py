"""Features, labels and panels, computed once for training and for serving.

Import from the modules (`ratchet.features.kernel`, `.labels`, `.panel`): this package imports nothing by itself, so
that the online store can be used by a server which has neither pandas nor TA-Lib.
"""
