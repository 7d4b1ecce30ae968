"""The process that speaks to Ray for a dispatcher: a driver, in Ray's words.

It is a process of its own since Ray ends a driver whose head has gone; and since it outlives its dispatcher,
as a supervisor does.
"""

from __future__ import annotations

import logging
import os
import sys

import ray

from scheduler.executors.ray.driver.driver import Driver
from scheduler.executors.ray.driver.nodes import look_at_nodes
from scheduler.executors.ray.keys import NAMESPACE
from scheduler.executors.ray.messages import last_words


def connect(address: str) -> None:
    """Connect to a Ray cluster.

    Raises:
        ConnectionError: it does not answer.
        RuntimeError: it has another version of Ray or Python, or this machine is none of its nodes.
    """
    ray.init(
        address=address,
        namespace=NAMESPACE,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )


def main() -> int:
    """Tell of the nodes (``nodes``), or serve a dispatcher (``serve``)."""
    mode, address = sys.argv[2:4]
    # What Ray prints is none of what is told here.
    answers = os.dup(1)
    os.dup2(2, 1)
    driver = Driver(answers)
    try:
        connect(address)
    except (ConnectionError, RuntimeError, ValueError) as error:
        driver.tell(type="error", why=last_words(error))
        return 3
    if mode == "nodes":
        driver.tell(type="nodes", nodes=look_at_nodes(os.getcwd()))
        return 0
    driver.tell(type="up")
    driver.serve()
    os._exit(0)  # attempts are none of Ray's cleaning up
