"""Measurements of the running product against a yardstick that is measured in the same minutes.

Here: what a program times or weighs on this machine. Not here: how good answers are (``simulations.evaluation``), or
whether code is right (``tests``).
"""
