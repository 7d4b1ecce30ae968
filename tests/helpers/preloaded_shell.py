"""A shell's script as a worker that can be forked from a process that has loaded this module.

``preloaded_shell.py SCRIPT``
"""

import os
import sys


def main(argv):
    os.execv("/bin/sh", ["sh", "-c", *argv])


if __name__ == "__main__":
    main(sys.argv[1:])
