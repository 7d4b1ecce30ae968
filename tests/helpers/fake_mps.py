"""A stand-in for NVIDIA's control program of MPS: a real daemon with a server below it, and no GPU.

    install(folder)                    # makes folder/nvidia-cuda-mps-control; put folder on the PATH
    install(folder, refuses="no GPU")  # one that cannot start

It speaks what the real one does: `-d` starts the daemon of CUDA_MPS_PIPE_DIRECTORY and returns when it
answers; without it, commands come on standard input (get_server_list, quit).
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

NAME = "nvidia-cuda-mps-control"


def install(folder: Path, refuses: str = "") -> Path:
    """Make the program; return the folder to be on the PATH."""
    folder.mkdir(exist_ok=True)
    program = folder / NAME
    words = shlex.join([sys.executable, __file__, refuses])
    program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    program.chmod(0o755)
    return folder


def main() -> int:
    pipe = Path(os.environ["CUDA_MPS_PIPE_DIRECTORY"])
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    if sys.argv[2:] == ["-d"]:
        return start(pipe, sys.argv[1])
    with socket.socket(socket.AF_UNIX) as control:
        try:
            control.connect(str(pipe / "control"))
        except OSError:
            print("Cannot find MPS control daemon process")
            return 1
        control.sendall(sys.stdin.readline().encode())
        print(control.makefile().readline(), end="")
    return 0


def start(pipe: Path, refuses: str) -> int:
    if refuses:
        print(refuses)
        return 1
    (pipe / "control").unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(pipe / "control"))
    listener.listen()
    if os.fork() == 0:
        os.setsid()
        serve(pipe, listener)
        os._exit(0)
    return 0


def serve(pipe: Path, listener: socket.socket) -> None:
    (pipe / f"{NAME}.pid").write_text(str(os.getpid()))
    (pipe / "starts").open("a").write("started\n")
    server = subprocess.Popen(["sleep", "infinity"])
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while True:
        client, _ = listener.accept()
        with client:
            command = client.makefile().readline().strip()
            client.sendall(f"{server.pid}\n".encode())
        if command == "quit":
            server.kill()
            server.wait()
            (pipe / "control").unlink()
            (pipe / f"{NAME}.pid").unlink()
            return


if __name__ == "__main__":
    sys.exit(main())
