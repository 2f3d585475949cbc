from ratchet.registry.inspection.inspector import CandidateInspector
from ratchet.registry.inspection.limits import InspectionLimits

__all__ = ["CandidateInspector", "InspectionLimits"]
