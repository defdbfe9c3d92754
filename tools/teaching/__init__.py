"""The teacher's pack: what in docs/teaching is made from the lessons, their times and recordings,
and the pages that are projected or printed."""
