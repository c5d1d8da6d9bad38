"""Figures: what they draw of a run, where it stands in time, and how it is drawn."""
