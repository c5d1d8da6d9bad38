"""Verification: are these the right numbers, and if not, why not.

A `case.Case` is a network and an input. Results are judged in `comparison`: step by step (`steps`,
by the numbers of `near`), or as a whole (`whole`) where the states between steps are not known.
`verify` compares a run with the float64 loop of `reference`, every strategy, other libraries
(`peers`), and a file. Where a file differs, `diagnosis` looks for the cause.
"""
