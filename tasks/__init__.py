"""The Prefect edge: each task wraps one library call. Importing the package silences its dependencies' telemetry."""

import os

from ratchet.settings import silence_telemetry

silence_telemetry(os.environ)
