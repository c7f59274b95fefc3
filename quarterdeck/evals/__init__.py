"""Measures answers: cases are asked, what comes back is checked, and the report decides whether the change may go on."""
