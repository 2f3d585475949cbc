"""The DAGs, one file each. Importing the package silences the telemetry of what the flows import."""

import os

from ratchet.settings import silence_telemetry

silence_telemetry(os.environ)
