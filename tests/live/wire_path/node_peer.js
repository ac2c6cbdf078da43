// A client or a server of HTTP/2 by Node, which is nghttp2. Without certificates there is no TLS.
//
//   serve [CERTIFICATE KEY]     prints its port; reads each request to its end, answers with its length
//   ask PORT [AUTHORITY]        on one connection: reads lines "METHOD PATH LENGTH TOKEN" from standard
//                               input; prints "STATUS LENGTH LOCAL-PORT" for each
"use strict";
const fs = require("fs");
const http2 = require("http2");

function serve(certificate, key) {
  const options = certificate && { cert: fs.readFileSync(certificate), key: fs.readFileSync(key) };
  const server = certificate ? http2.createSecureServer(options) : http2.createServer();
  server.on("stream", (stream) => {
    let length = 0;
    stream.on("data", (piece) => { length += piece.length; });
    stream.on("end", () => {
      stream.respond({ ":status": 200 }, { endStream: stream.headRequest });
      if (!stream.headRequest) stream.end(String(length));
    });
  });
  server.listen(0, "127.0.0.1", () => console.log(server.address().port));
}

function ask(port, authority) {
  const options = authority ? { ca: fs.readFileSync(authority), servername: "localhost" } : {};
  const session = http2.connect(`${authority ? "https" : "http"}://127.0.0.1:${port}`, options);
  require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
    const [method, path, length, ...token] = line.split(" ");
    const fields = { ":method": method, ":path": path, authorization: token.join(" ") };
    const stream = session.request(fields, { endStream: length === "0" });
    if (length !== "0") stream.end(Buffer.alloc(Number(length), "b"));
    let status = 0, came = 0;
    stream.on("response", (head) => { status = head[":status"]; });
    stream.on("data", (piece) => { came += piece.length; });
    stream.on("end", () => console.log(status, came, session.socket.localPort));
  }).on("close", () => session.close());
}

const [task, ...words] = process.argv.slice(1);
if (task === "serve") serve(...words);
else ask(...words);
