"""A gRPC server of grpcio with `grpc.health.v1.Health/Check`, its messages written by hand: no generated code needed.

    health_server.py STATE [--address 127.0.0.1:0 | unix:PATH]

Prints {"port": N} once it listens. STATE is a file with one line for each service that it knows: its name (none for the
server as a whole), a blank, and the number of its serving status. It is read for each question, so that a test changes
it by putting another file in its place.
"""

import argparse
import asyncio
import json
import pathlib

import grpc


def varint(data, at):
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at


def service_of(request):
    """The one string of a HealthCheckRequest."""
    if not request:
        return ""
    assert request[0] == 0x0A, request
    length, at = varint(request, 1)
    assert len(request) == at + length, request
    return request[at:].decode()


def statuses(path):
    lines = (line.rpartition(" ") for line in path.read_text().splitlines())
    return {name: int(number) for name, _, number in lines}


async def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("state", type=pathlib.Path)
    arguments.add_argument("--address", default="127.0.0.1:0")
    arguments = arguments.parse_args()

    async def check(request, context):
        service = service_of(request)
        known = statuses(arguments.state)
        if service not in known:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return bytes([0x08, known[service]]) if known[service] else b""

    server = grpc.aio.server()
    handlers = {"Check": grpc.unary_unary_rpc_method_handler(check)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", handlers),))
    port = server.add_insecure_port(arguments.address)
    await server.start()
    print(json.dumps({"port": port}), flush=True)
    await server.wait_for_termination()


asyncio.run(main())
