"""gRPC without generated code: a service of orders, or a client that is told what to call."""

import sys
from concurrent import futures

import grpc

CODES = {code.value[0]: code for code in grpc.StatusCode}


def get(request, context):
    return b"order " + request


def refuse(request, context):
    context.abort(CODES[int(request)], "not this one")


def list_orders(request, context):
    for nth in range(int(request)):
        yield b"order %d" % nth


def fail(request, context):
    yield from list_orders(request, context)
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no more")


def put(requests, context):
    return b"%d" % sum(1 for _ in requests)


def talk(requests, context):
    for request in requests:
        yield request
        yield request


METHODS = {
    "Get": grpc.unary_unary_rpc_method_handler(get),
    "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
    "List": grpc.unary_stream_rpc_method_handler(list_orders),
    "Fail": grpc.unary_stream_rpc_method_handler(fail),
    "Put": grpc.stream_unary_rpc_method_handler(put),
    "Talk": grpc.stream_stream_rpc_method_handler(talk),
}


def serve():
    server = grpc.server(futures.ThreadPoolExecutor(4))
    handler = grpc.method_handlers_generic_handler("shop.Orders", METHODS)
    server.add_generic_rpc_handlers((handler,))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()


def channel(port, authority):
    if authority is None:
        return grpc.insecure_channel(f"127.0.0.1:{port}")
    with open(authority, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    options = [("grpc.ssl_target_name_override", "localhost")]
    return grpc.secure_channel(f"127.0.0.1:{port}", credentials, options)


def call(there, method, number, token):
    """The call's status, and how many messages came."""
    kind, name = METHODS.get(method, METHODS["Get"]), f"/shop.Orders/{method}"
    ways = {
        (False, False): there.unary_unary,
        (False, True): there.unary_stream,
        (True, False): there.stream_unary,
        (True, True): there.stream_stream,
    }
    make = ways[kind.request_streaming, kind.response_streaming](name)
    message = b"%d" % number
    request = iter([message] * number) if kind.request_streaming else message
    came = 0
    try:
        answer = make(request, metadata=[("authorization", token)], timeout=20)
        if not kind.response_streaming:
            return 0, 1
        for _ in answer:
            came += 1
        return 0, came
    except grpc.RpcError as error:
        return error.code().value[0], came


def ask(port, authority):
    there = channel(port, authority)
    for line in sys.stdin:
        method, number, token = line.split(" ", 2)
        print(*call(there, method, int(number), token.strip()), flush=True)


if sys.argv[1] == "serve":
    serve()
else:
    ask(int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)
