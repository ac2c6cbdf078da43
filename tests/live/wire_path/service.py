"""An HTTP service on the loopback, and a client of it that keeps its connection."""

import http.client
import http.server
import json
import socket
import sys


class Service(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = json.dumps({"path": self.path}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        pass


class Everywhere(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6


def serve(host):
    kind = Everywhere if ":" in host else http.server.ThreadingHTTPServer
    server = kind((host, 0), Service)
    print(server.server_port, flush=True)
    server.serve_forever()


class Padded(http.client.HTTPConnection):
    """Sends destination options (RFC 8200 §4.6): eight octets of padding before each segment."""

    def connect(self):
        self.sock = socket.socket(socket.AF_INET6)
        padding = bytes([0, 0, 1, 4, 0, 0, 0, 0])
        self.sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, padding)
        self.sock.connect((self.host, self.port))


def ask(port, host):
    kind = Padded if host == "::1" else http.client.HTTPConnection
    connection = kind(host, port)
    for line in sys.stdin:
        path, token = line.split(" ", 1)
        connection.request("GET", path, headers={"Authorization": token.strip()})
        length = len(connection.getresponse().read())
        print(length, connection.sock.getsockname()[1], flush=True)


if sys.argv[1] == "serve":
    serve(sys.argv[2])
else:
    ask(int(sys.argv[2]), sys.argv[3])
