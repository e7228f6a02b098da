"""What workers find in their environment.

One thread each: parallelism is over items, and thread pools of several workers only fight. Arrow's allocator
is the system's, since its own keeps 60 MB that a worker no longer needs.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
WORKER_ENVIRONMENT = dict.fromkeys(THREADS, "1") | {"ARROW_DEFAULT_MEMORY_POOL": "system"}


@contextmanager
def worker_environment() -> Iterator[None]:
    """Processes started within read these variables before they import anything."""
    before = {name: os.environ.get(name) for name in WORKER_ENVIRONMENT}
    os.environ.update(WORKER_ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
