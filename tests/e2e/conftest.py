"""End to end: the real binary, real sockets, the official clients."""
import http.client
import json
import os
import pathlib
import signal
import subprocess
import threading

import grpc
import openai
import pytest
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase)

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("LATENTD_BIN", str(ROOT / "build/release/latentd"))
DEMO = ROOT / "models/demo"
GRPCURL = ROOT / ".cache/bin/grpcurl"


class Server:
    """A running `latentd serve` on free ports. Its log is kept and shown when a test fails."""

    def __init__(self, *args, env=None, binary=None):
        command = [binary or BINARY, "serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0",
                   "--admin", "127.0.0.1:0", *map(str, args)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, env={**os.environ, **(env or {})})
        self.log = []
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        ready = self.process.stdout.readline().split()
        if not ready or ready[0] != "ready":
            self.process.wait()
            self._reader.join()
            raise RuntimeError("not ready: " + "".join(self.log))
        fields = dict(word.split("=", 1) for word in ready[1:])
        self.http, self.grpc, self.admin = fields["http"], fields["grpc"], fields["admin"]
        self.model = fields["model"]
        self.url = f"http://{self.http}"
        self.channel = grpc.insecure_channel(self.grpc)
        self.admin_channel = grpc.insecure_channel(self.admin)

    def _read_log(self):
        for line in self.process.stderr:
            self.log.append(line)

    def openai(self, **kwargs):
        return openai.OpenAI(base_url=self.url + "/v1", api_key="none", max_retries=0, **kwargs)

    def post(self, path, body, headers=None):
        """(status, reply as JSON, headers). A body that is no bytes is sent as JSON."""
        connection = http.client.HTTPConnection(self.http, timeout=120)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request("POST", path, data, {"Content-Type": "application/json", **(headers or {})})
        reply = connection.getresponse()
        text = reply.read()
        connection.close()
        return reply.status, json.loads(text), reply.headers

    def stop(self, expect=0):
        """SIGTERM, and the exit status it must give."""
        self.channel.close()
        self.admin_channel.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait()
        self._reader.join()
        assert status == expect, "".join(self.log)


class Rpc:
    """The Inference and Admin services, their types learned through server reflection."""

    def __init__(self, server):
        self._server = server
        self._pools = {}

    def _pool(self, channel):
        if channel not in self._pools:
            database = ProtoReflectionDescriptorDatabase(channel)
            self._pools[channel] = descriptor_pool.DescriptorPool(database)
        return self._pools[channel]

    def message(self, name, admin=False, **fields):
        channel = self._server.admin_channel if admin else self._server.channel
        descriptor = self._pool(channel).FindMessageTypeByName("latentd.v1." + name)
        return message_factory.GetMessageClass(descriptor)(**fields)

    def call(self, method, request, admin=False, **kwargs):
        """The reply of a unary method, or an iterator over a stream's."""
        channel = self._server.admin_channel if admin else self._server.channel
        service = "latentd.v1." + ("Admin" if admin else "Inference")
        descriptor = self._pool(channel).FindServiceByName(service).methods_by_name[method]
        reply = message_factory.GetMessageClass(descriptor.output_type)
        make = channel.unary_stream if descriptor.server_streaming else channel.unary_unary
        stub = make(f"/{service}/{method}", request_serializer=type(request).SerializeToString,
                    response_deserializer=reply.FromString)
        return stub(request, **kwargs)


@pytest.fixture(scope="session")
def server():
    """One server of the demo model that most tests share."""
    running = Server()
    yield running
    running.stop()


@pytest.fixture
def start():
    """Starts servers with settings of their own; they are stopped at the end."""
    running = []

    def make(*args, **kwargs):
        running.append(Server(*args, **kwargs))
        return running[-1]

    yield make
    for one in running:
        if one.process.poll() is None:
            one.stop()


@pytest.fixture(scope="session")
def rpc(server):
    return Rpc(server)


@pytest.fixture
def client(server):
    return server.openai()
