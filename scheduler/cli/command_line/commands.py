"""Every command: what --help says of it, what it takes, and the module that does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from scheduler.cli.command_line import arguments
from scheduler.cli.command_line.arguments import Arguments


class Command(NamedTuple):
    """What --help says of a command, and what it takes."""

    summary: str
    add_arguments: Callable[[Arguments], None]
    example: str
    # The module of scheduler.cli that does it, where it is not called like the command.
    module: str | None = None


COMMANDS = {
    "run": Command(
        "run a sweep, or resume it (the default)",
        arguments.add_run,
        """\
  python -m scheduler sweeps/tiny.yaml              run it; run it again to go on after anything
  python -m scheduler sweeps/tiny.yaml --dry-run    print the plan, start nothing
  python -m scheduler sweeps/tiny.yaml --only 'pipe=SHAPES_SD15,steps=6'    these tasks, no others

exit codes: 0 every task completed, 1 some failed for good or the first all failed alike (retries.stop_after),
2 wrong command line or sweep file, 3 another dispatcher holds the sweep, 130 interrupted.
Ctrl-C once: start nothing new, let running attempts end; twice: stop them;
a third time: leave at once, without waiting for their end. All of it can be resumed.""",
    ),
    "status": Command(
        "what is done, runs, waits and failed, and why",
        arguments.add_status,
        """\
  python -m scheduler status sweeps/tiny.yaml
  python -m scheduler status sweeps/tiny.yaml --watch    kept on the screen
  python -m scheduler status sweeps/tiny.yaml --only 'steps=6'
  python -m scheduler status sweeps/tiny.yaml --json | jq '.tasks[] | select(.state == "failed")'""",
    ),
    "results": Command(
        "the best under a bound, from what was measured",
        arguments.add_results,
        """\
  python -m scheduler results sweeps/tiny.yaml                  under the bound that it was measured for
  python -m scheduler results sweeps/tiny.yaml --max-loss 1%    under another one; measures nothing
  python -m scheduler results sweeps/*.yaml --csv > all.csv     every configuration of every task
  python -m scheduler results sweeps/tiny.yaml --snippet        the best of each task as a Python program

exit codes: 0 there are measurements, 1 there are none yet, 2 wrong command line or sweep file.""",
        "measured.results",
    ),
    "report": Command(
        "an HTML file that shows what was measured",
        arguments.add_report,
        """\
  python -m scheduler report sweeps/tiny.yaml                       writes tiny-report.html, .csv and .parquet
  python -m scheduler report sweeps/*.yaml --output all.html --open    several sweeps in one file

exit codes: 0 there are measurements, 1 there are none yet, 2 wrong command line or sweep file.""",
        "measured.report",
    ),
    "track": Command(
        "send new measurements where the file's track says",
        arguments.add_sweep,
        """\
  python -m scheduler track sweeps/tiny.yaml    what a tracker has not got yet; a run does so by itself

exit codes: 0 all was sent, 1 some was not, 2 wrong command line or sweep file, 3 another process sends.""",
        "measured.track",
    ),
    "tail": Command(
        "logs of tasks; -f follows them",
        arguments.add_tail,
        """\
  python -m scheduler tail sweeps/tiny.yaml SHAPES_SD15_DDIM_6 -f    across its attempts
  python -m scheduler tail sweeps/tiny.yaml '*' -f                   all that run, lines with their names
  python -m scheduler tail sweeps/tiny.yaml --failed                 why tasks failed, and their ends""",
    ),
    "retry": Command(
        "forget failures, so that they are tried again",
        arguments.add_retry,
        """\
  python -m scheduler retry sweeps/tiny.yaml                     forget every failure
  python -m scheduler retry sweeps/tiny.yaml SHAPES_SD15_DDIM_6  forget this one's
  python -m scheduler retry sweeps/tiny.yaml 'SHAPES_SD15_*'      forget theirs
  python -m scheduler retry sweeps/tiny.yaml --force             forget completions and results too""",
    ),
    "stop": Command(
        "end running tasks: they wait again, or fail",
        arguments.add_stop,
        """\
  python -m scheduler stop sweeps/tiny.yaml SHAPES_SD15_DDIM_6           end its attempt, uncharged
  python -m scheduler stop sweeps/tiny.yaml SHAPES_SD15_DDIM_6 --fail    and do not try it again

A stopped task waits again, and is started as soon as a device is free; with --fail it has failed.""",
        "wishes",
    ),
    "pause": Command(
        "start nothing new until it is resumed",
        arguments.add_pause,
        """\
  python -m scheduler pause sweeps/tiny.yaml          what runs may end
  python -m scheduler pause sweeps/tiny.yaml --now    what runs is stopped, and tried again later

A pause stays until `resume`, also over the dispatcher's end and its next start.""",
        "wishes",
    ),
    "resume": Command(
        "let a paused sweep go on",
        arguments.add_sweep,
        "  python -m scheduler resume sweeps/tiny.yaml",
        "wishes",
    ),
    "drain": Command(
        "start nothing new on a device, for this sweep",
        arguments.add_drain,
        """\
  python -m scheduler drain sweeps/sdxl.yaml 3           what runs on GPU 3 may end
  python -m scheduler drain sweeps/sdxl.yaml 3 --undo    use it again""",
        "wishes",
    ),
    "reload": Command(
        "have the running dispatcher take the changed file in",
        arguments.add_sweep,
        """\
  python -m scheduler reload sweeps/tiny.yaml

New tasks are run; what has left the file and waits is not started any more, what runs goes on to its end
and is not tried again. Tasks with other settings begin anew, those that run are stopped for it. Retries,
limits and devices.at_most are taken over; the rest of devices, worker.env, validate, notify, track and
order cannot change while it runs.""",
    ),
    "devices": Command(
        "every device, idle or not, and the reason",
        arguments.add_devices,
        """\
  python -m scheduler devices
  python -m scheduler devices sweeps/sdxl.yaml    by that sweep's rules (devices: …)""",
    ),
}
OVERVIEW = """\
example:
  python -m scheduler sweeps/tiny.yaml           run a sweep, or resume it
  python -m scheduler status sweeps/tiny.yaml    see how it stands
  python -m scheduler status --help              what a command takes"""
