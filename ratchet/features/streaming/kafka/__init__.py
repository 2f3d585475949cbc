"""The feature engine on Kafka: events from one topic, rows to another, state in a checkpoint store.

Import from the modules; this package imports nothing by itself.
"""
