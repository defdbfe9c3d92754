"""Exercises that check themselves: what a job, a spec or a choice must hold, never the model's
words, unless they are the learner's own goal on the learner's own machine.

Left untouched (`answer = None`) an exercise says so and passes over; a wrong answer gets a hint,
and an option that is wrong gets its own reason. Any right answer is right: other settings that
reach the goal, and numbers of any type.
"""

from labkit.exercises.creative_prompts import (
    at_temperature_zero,
    fewest_rows,
    order_the_rows,
    shared_tokens,
    toy_lengths,
    what_comes_first,
    which_card,
)
from labkit.exercises.faq_answers import (
    before_the_first_token,
    in_french,
    mean_rows_in_flight,
    rows_in_flight,
    rows_until_worth_it,
    who_gains_most,
    why_not_perfect,
)
from labkit.exercises.social_sentiment import (
    f1_of,
    few_shot_order,
    on_every_node,
    requests_per_s,
    rows_for,
    rows_to_resume,
    says_it,
    seconds_for,
    valid_is_not_right,
    why_more_engines,
)
from labkit.exercises.verdicts import OPEN, RIGHT, WRONG, Question, Verdict

__all__ = [
    "OPEN",
    "Question",
    "RIGHT",
    "Verdict",
    "WRONG",
    "at_temperature_zero",
    "before_the_first_token",
    "f1_of",
    "few_shot_order",
    "fewest_rows",
    "in_french",
    "mean_rows_in_flight",
    "on_every_node",
    "order_the_rows",
    "requests_per_s",
    "rows_for",
    "rows_in_flight",
    "rows_to_resume",
    "rows_until_worth_it",
    "says_it",
    "seconds_for",
    "shared_tokens",
    "toy_lengths",
    "valid_is_not_right",
    "what_comes_first",
    "which_card",
    "who_gains_most",
    "why_more_engines",
    "why_not_perfect",
]
