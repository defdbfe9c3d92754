"""What to ask the model for each row: messages, sampling parameters, and how to read the answer."""

from labkit.tasks.lesson_tasks import INSTRUCTION, LABELS, creative, faq, sentiment
from labkit.tasks.task import Message, Row, Task, ask, user_text

__all__ = [
    "INSTRUCTION",
    "LABELS",
    "Message",
    "Row",
    "Task",
    "ask",
    "creative",
    "faq",
    "sentiment",
    "user_text",
]
