"""More connections than the process may open files."""
import re
import socket

import pytest

import conftest

HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


def status_of(connection):
    return int(connection.recv(4096).split(b" ", 2)[1])


@pytest.fixture(params=["-Sn 64", "-n 256"])
def limited(request, tmp_path, monkeypatch):
    program = tmp_path / "latentd"
    program.write_text(f'#!/bin/sh\nulimit {request.param}\nexec {conftest.BINARY} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setattr(conftest, "BINARY", str(program))
    server = conftest.Server("--max-connections", 300)
    yield server, request.param
    server.stop()


def test_a_connection_too_many_is_told_and_grpc_still_answers(limited):
    server, limit = limited
    lowered = [int(n) for n in re.findall(r"at most (\d+) HTTP connections instead of 300",
                                          "".join(server.log))]
    # A low soft limit is raised; a hard one is not ours to raise.
    assert bool(lowered) == limit.startswith("-n")
    most = lowered[0] if lowered else 300
    assert 1 <= most <= 300
    host, port = server.http.split(":")
    connections = []
    try:
        for _ in range(most):
            connections.append(socket.create_connection((host, int(port)), timeout=60))
            connections[-1].sendall(HEALTH)
            assert status_of(connections[-1]) == 200
        for _ in range(3):
            connections.append(socket.create_connection((host, int(port)), timeout=60))
            assert status_of(connections[-1]) == 503
        rpc = conftest.Rpc(server)
        assert rpc.call("ListModels", rpc.message("ListModelsRequest")).models[0].id == server.model
    finally:
        for connection in connections:
            connection.close()
