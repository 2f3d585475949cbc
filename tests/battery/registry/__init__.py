"""The registry's battery: killed at every system call, cut from power, hurried by crashes and raced for.

`killing.py` is T-REG-1, `power.py` T-REG-2, `simulation.py` T-REG-3 and `racing.py` T-REG-4; `promises.py` says what
must hold afterwards, `rules.py` what the registry is in plain Python. `seed_style.py` and the other mutants must fail.
"""
