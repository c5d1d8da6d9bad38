"""Verification: are these the right numbers, and if not, why not.

A `case.Case` is a network and an input. Its run is judged in `comparison`:
step by step (`steps`) against one float64 step each (`reference`), or as a
whole (`whole`) where the states between steps are not known. `compared` is
what it is compared with: the float64 loop, every strategy, other libraries
(`peers`), a file, and what those libraries once computed (`recorded`). Where
a file differs, `diagnosis` looks for the cause; `report` writes it all.
"""
