"""Checks that a training loses nothing and that no input harms it; `make reliability` runs them all.

A module `check_NN_name.py` has a TITLE and two functions. `check(work, full)` measures in the empty folder `work` and
returns its figures in one line, or raises AssertionError. `control(work)` measures a subject that is broken on purpose,
and must raise AssertionError with its figures: otherwise the check would pass whatever happens. It may also set
`ALONE = True`, not to run beside another one, and `SECONDS`, the time limit of each function at full scale.
"""


class NotRun(Exception):  # noqa: N818
    """A check cannot run on this machine; the text says why."""
