"""The fault battery: seeded days of a venue that misbehaves, collected and compared with the truth.

Open `days.py` for what a day is, `driving.py` for how it is collected, `verdicts.py` for what must hold afterwards,
`naive.py` for a collector that must fail, `faults.py` to run the whole.
"""
