"""The lessons' data: questions, creative prompts, and posts with human labels."""

from labkit.datasets.csv_table import DatasetError, read_table
from labkit.datasets.posts import fetch_posts, load_posts, shown_posts
from labkit.datasets.questions import handbook, is_correct, load_faq, load_prompts

__all__ = [
    "DatasetError",
    "fetch_posts",
    "handbook",
    "is_correct",
    "load_faq",
    "load_posts",
    "load_prompts",
    "read_table",
    "shown_posts",
]
