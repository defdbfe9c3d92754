"""The lessons' data: questions, creative prompts, and posts with human labels."""

from labkit.datasets.csv_table import DatasetError, read_table
from labkit.datasets.posts import fetch_posts, load_posts
from labkit.datasets.questions import is_correct, load_faq, load_prompts

__all__ = [
    "DatasetError",
    "fetch_posts",
    "is_correct",
    "load_faq",
    "load_posts",
    "load_prompts",
    "read_table",
]
