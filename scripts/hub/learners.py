"""JupyterHub's settings for a class of the lab (docs/hub.md): a file that the hub reads.

The Littlest JupyterHub reads what lies in its `jupyterhub_config.d`; any other hub, by
`load_subconfig("…/learners.py")` in its own file. One environment and one cache for all, limits for
each learner; and, where BATCH_LAB_CLASS names one, the engine of a class server beside the hub.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

#: Where the lab lies, and the Python of its environment.
LAB = Path(os.environ.get("BATCH_LAB") or "/opt/batch-lab")
PYTHON = os.environ.get("BATCH_LAB_PYTHON") or f"{LAB}/.venv/bin/python"
#: The model and the posts, fetched once by whoever set the lab up; learners need only read it.
CACHE = os.environ.get("LABKIT_CACHE") or f"{LAB}/cache"
#: The address of `labkit classroom`, such as http://127.0.0.1:8899, where one runs beside the hub;
#: and its folder, which holds the key of the seats.
CLASS = os.environ.get("BATCH_LAB_CLASS")
CLASS_FOLDER = os.environ.get("BATCH_LAB_CLASS_FOLDER") or f"{CACHE}/classroom"
#: `--without-solutions` for lessons as a class gets them; nothing for the whole ones.
LESSONS = os.environ.get("BATCH_LAB_LESSONS") or ""
#: A learner's memory and cores, by the measured peaks in docs/hub.md: with an engine of their own,
#: and on a class's engine.
OWN_ENGINE, CLASS_ENGINE = ("6G", 2.0), ("1G", 1.0)

c: Any = get_config()  # type: ignore[name-defined]  # noqa: F821
c.Spawner.mem_limit, c.Spawner.cpu_limit = CLASS_ENGINE if CLASS else OWN_ENGINE
c.Spawner.cmd = ["/bin/sh", f"{LAB}/scripts/hub/server.sh"]
c.Spawner.start_timeout = 120  # many begin at the same time
c.Spawner.environment = {
    "BATCH_LAB_PYTHON": PYTHON,
    "BATCH_LAB_LESSONS": LESSONS,
    "LABKIT_CACHE": CACHE,
    "RAY_USAGE_STATS_ENABLED": "0",
    "VLLM_NO_USAGE_STATS": "1",
}
#: Ray and vLLM keep sockets in /tmp: each learner has one of their own, gone with the server.
c.SystemdSpawner.isolate_tmp = True
if CLASS:
    sys.path.append(str(LAB))
    from labkit.classroom.seats import MOST, Seats

    seats = Seats(Path(CLASS_FOLDER), MOST)
    #: A learner's seat is their number among the hub's users, and stays theirs.
    c.Spawner.environment["LABKIT_CLASS"] = lambda spawner: (
        f"{CLASS}/{seats.token(f'{spawner.user.id:02}')}"
    )
