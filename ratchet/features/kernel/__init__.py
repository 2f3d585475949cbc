"""The arithmetic of every feature, compiled: state and event in, row out, no input or output.

`program.py` turns definitions into what the machine code reads, `state.py` holds what is remembered of a symbol,
`step.py` has the entry points. One module per family has the formulas. Numba is imported nowhere else.
"""
