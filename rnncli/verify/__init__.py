"""Verification: are these the right numbers, and if not, why not.

A `case.Case` is a network and an input. Its run is judged in `comparison`:
step by step (`steps`) against one float64 step each, with how far rounding
may carry it (`bounded`, by the arithmetic of `near`), or as a whole (`whole`)
where the states between steps are not known; `tally` counts what is wrong.
`reference` has the float64 loop. `compared` is what a run is compared with: that
loop, every strategy, other libraries (`peers`), a file. Where a file differs,
`diagnosis` looks for the cause; `report` writes it all. `notebook` has the numbers
that the notebook printed.
"""
