"""What to ask the model for each row: messages, sampling parameters, and how to read the answer."""
# ruff: noqa: F401 (the names of this room)

from labkit.tasks.lesson_tasks import INSTRUCTION, LABELS, creative, faq, sentiment
from labkit.tasks.task import Message, Row, Task, ask, user_text
