"""An HTTP service on the loopback, and a client of it that keeps its connection."""

import http.client
import http.server
import json
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


def serve():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
    print(server.server_port, flush=True)
    server.serve_forever()


def ask(port):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for line in sys.stdin:
        path, token = line.split(" ", 1)
        connection.request("GET", path, headers={"Authorization": token.strip()})
        length = len(connection.getresponse().read())
        print(length, connection.sock.getsockname()[1], flush=True)


if sys.argv[1] == "serve":
    serve()
else:
    ask(int(sys.argv[2]))
