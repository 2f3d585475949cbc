"""The process that looks into a candidate: `python -m ratchet.registry.inspection.child ORDER < FILES > VERDICT`.

ORDER is JSON and comes from us; FILES is what the order says, one after the other, and may be anything. The process
limits itself before it reads the first of them. Its verdict is one JSON object; no verdict is a refusal as well.
"""

from __future__ import annotations

import resource
import sys

from ratchet.errors import CandidateRejectedError
from ratchet.registry.golden import GOLDEN_FILE
from ratchet.registry.inspection.answers import check_answers
from ratchet.registry.inspection.formats import check_content
from ratchet.registry.inspection.graph import check_graph
from ratchet.registry.inspection.limits import InspectionLimits
from ratchet.registry.inspection.order import Order, Verdict
from ratchet.registry.names import MODEL_FILE


def inspect(order: Order, files: dict[str, bytes]) -> Verdict:
    """Look into every file and run the model."""
    content = files[MODEL_FILE]
    try:
        for filename in sorted(files):
            check_content(filename, files[filename])
        check_graph(content, order.window, order.n_features)
        check_answers(content, files[GOLDEN_FILE], order.window, order.n_features)
    except CandidateRejectedError as error:
        return Verdict(outcome="refused", reason=str(error))
    except MemoryError:
        return Verdict(outcome="refused", reason=f"needs more than {order.limits.memory_bytes:,} bytes of memory")
    except ModuleNotFoundError as error:
        return Verdict(outcome="not installed", reason=error.name or str(error))
    return Verdict(outcome="passed")


def main() -> None:
    """Limit this process, read the files, write the verdict."""
    order = Order.model_validate_json(sys.argv[1])
    _limit(order.limits)
    files = {filename: sys.stdin.buffer.read(size) for filename, size in order.sizes.items()}
    sys.stdout.write(inspect(order, files).model_dump_json())


def _limit(limits: InspectionLimits) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_s, limits.cpu_s + 1))  # first SIGXCPU, which says why
    for kind, most in (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_FSIZE, limits.output_bytes),
        (resource.RLIMIT_NOFILE, limits.max_open_files),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))


if __name__ == "__main__":
    main()
