"""Starts a server of either kind on a free port, and waits until it answers."""

import contextlib
import http.client
import socket
import subprocess
import time


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_ready(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@contextlib.contextmanager
def running(contestant, clients, context, log):
    """The port of contestant's server with room for `clients` sequences of `context` tokens."""
    port = free_port()
    with open(log, "w", encoding="utf-8") as file:
        process = subprocess.Popen(contestant.serve_command(port, clients, context), stdout=file, stderr=file)
        try:
            while not is_ready(port):
                if process.poll() is not None:
                    raise RuntimeError(f"{contestant.name} ended; see {log}")
                time.sleep(0.1)
            yield port
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def post(port, path, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3600)
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    reply = connection.getresponse()
    text = reply.read()
    connection.close()
    if reply.status != 200:
        raise RuntimeError(f"HTTP {reply.status} for {path}: {text[:500]}")
    return text
