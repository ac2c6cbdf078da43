// APIs of an order service, sound and broken ones, each on a port of its own. In: one line of JSON
// on standard input. Out: their ports by name, as JSON, in the first line of standard output.
// Every answer tells why: {"decision", "reason"}.
import { createSecureServer } from "node:http2";
import https from "node:https";
import { readFileSync } from "node:fs";
import readline from "node:readline";
import express from "express";
import middleware from "express-oauth2-jwt-bearer";
import * as jose from "jose";
import * as oauth from "oauth4webapi";

const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const { certificate, key, authority, issuer } = JSON.parse((await lines.next()).value);
const TLS = {
  cert: readFileSync(certificate),
  key: readFileSync(key),
  ca: readFileSync(authority),
  requestCert: true,
  rejectUnauthorized: false,
};
const AUDIENCE = "orders-api";
const CLIENTS = /^(web|batch-.*)$/;
const STEP_UP_SECONDS = 600;
const NONCE = "nonce-of-the-orders-api";

const ROUTES = [
  { methods: ["GET", "HEAD"], path: /^\/orders\/[^/]+$/, any: ["orders:read", "orders:admin"] },
  { methods: ["POST"], path: /^\/orders$/, all: ["orders:write"] },
  { methods: ["POST", "DELETE"], path: /^\/refunds\/.+$/, all: ["refunds:write"], stepUp: true },
  { methods: ["GET"], path: /^\/reports\/[^/]+$/, all: ["reports:read"], role: "auditor" },
  { methods: ["GET"], path: /^\/tenants\/([^/]+)\/orders$/, any: ["orders:read"], tenant: true },
  { methods: ["GET"], path: /^\/bound\/[^/]+$/, any: ["orders:read"], dpop: true },
  { methods: ["GET"], path: /^\/nonce\/[^/]+$/, any: ["orders:read"], dpop: true, nonce: true },
  { methods: ["GET"], path: /^\/socket\/[^/]+$/, any: ["orders:read"] },
  { methods: ["GET"], path: /^\/health$/, open: true },
];

class Refusal extends Error {
  constructor(status, reason, challenge) {
    super(reason);
    Object.assign(this, { status, challenge });
  }
}

const invalid = (reason) =>
  new Refusal(401, reason, `Bearer realm="orders", error="invalid_token", error_description="${reason}"`);

const SERVER = { issuer, jwks_uri: `${issuer}/jwks` };
const KEYS = jose.createRemoteJWKSet(new URL(SERVER.jwks_uri));

// Proofs that were there.
const seen = new Set();

async function strict(token, request) {
  const fields = [["authorization", `${token.scheme} ${token.value}`]];
  request.proofs.forEach((proof) => fields.push(["dpop", proof]));
  const asked = new Request(`https://${request.host}${request.path}`, {
    method: request.method,
    headers: fields,
  });
  const claims = await oauth.validateJwtAccessToken(SERVER, asked, AUDIENCE).catch((error) => {
    throw invalid(error.cause?.message ?? error.message);
  });
  for (const proof of request.proofs) {
    const { jti } = jose.decodeJwt(proof);
    if (seen.has(jti)) throw invalid("proof was used before");
    seen.add(jti);
  }
  return claims;
}

// What a hand-written check gets wrong, by name.
const lenient = (flaw) => async (token) => {
  const decoded = jose.decodeJwt(token.value);
  const header = jose.decodeProtectedHeader(token.value);
  if (flaw === "signature" || (flaw === "alg" && header.alg === "none")) return decoded;
  const options = {
    issuer: flaw === "issuer" ? undefined : issuer,
    audience: flaw === "audience" ? undefined : AUDIENCE,
    typ: flaw === "kind" ? undefined : "at+jwt",
    clockTolerance: flaw === "time" ? 1e9 : 5,
  };
  const { payload } = await jose.jwtVerify(token.value, KEYS, options).catch((error) => {
    throw invalid(error.message);
  });
  return payload;
};

function only(tokens, flaw) {
  if (tokens.length > 1 && flaw !== "several") {
    throw new Refusal(400, "several credentials", 'Bearer realm="orders", error="invalid_request"');
  }
  return tokens[0];
}

function tokens(request) {
  const found = request.authorization.map((field) => {
    const [scheme, value] = field.split(/ +/);
    if (!/^(bearer|dpop)$/i.test(scheme)) throw invalid("unsupported scheme");
    if (!value) throw new Refusal(400, "no token", 'Bearer error="invalid_request"');
    return { scheme, value };
  });
  const bearer = (value) => value && found.push({ scheme: "Bearer", value });
  bearer(/(?:^|;\s*)sid_jwt=([^;]+)/.exec(request.cookie ?? "")?.[1]);
  bearer(request.forwarded);
  const protocol = /base64url\.bearer\.authorization\.k8s\.io\.([\w-]+)/.exec(request.protocols ?? "");
  bearer(protocol && Buffer.from(protocol[1], "base64url").toString());
  return found;
}

function routeOf(request, flaw) {
  const path = flaw === "path" ? request.path : new URL(request.path, "https://orders").pathname;
  // A router that looks at a prefix only, as written, and hands on what it did not look at.
  if (flaw === "path" && path.startsWith("/orders/")) return [ROUTES[0], []];
  for (const route of ROUTES) {
    const found = route.path.exec(path);
    if (found && route.methods.includes(request.method)) return [route, found];
  }
  throw new Refusal(404, "no such route");
}

function permit(claims, route, found, request, flaw) {
  const scopes = (claims.scope ?? "").split(" ");
  const has = (scope) => scopes.includes(scope);
  const enough = (route.all ?? []).every(has) && (!route.any || route.any.some(has));
  if (!enough && flaw !== "scope") {
    const needed = (route.all ?? route.any).join(" ");
    throw new Refusal(403, "scope", `Bearer realm="orders", error="insufficient_scope", scope="${needed}"`);
  }
  if (!CLIENTS.test(claims.client_id) && flaw !== "client") throw new Refusal(403, "client");
  if (route.role && !claims.roles?.includes(route.role) && flaw !== "role") throw new Refusal(403, "role");
  if (route.tenant && claims.tenant !== found[1] && flaw !== "tenant") throw new Refusal(403, "tenant");
  if (route.dpop && !claims.cnf?.jkt && flaw !== "binding") throw invalid("unbound token");
  if (route.nonce && jose.decodeJwt(request.proofs[0]).nonce !== NONCE) {
    throw new Refusal(401, "nonce", 'DPoP error="use_dpop_nonce"');
  }
  const age = Date.now() / 1000 - claims.auth_time;
  if (route.stepUp && (claims.acr !== "phr" || !(age < STEP_UP_SECONDS)) && flaw !== "step_up") {
    const needed = `acr_values="phr", max_age="${STEP_UP_SECONDS}"`;
    throw new Refusal(401, "step up", `Bearer error="insufficient_user_authentication", ${needed}`);
  }
}

async function decide(request, flaw) {
  const [route, found] = routeOf(request, flaw);
  if (route.open) return;
  const token = only(tokens(request), flaw);
  if (!token) {
    if (flaw === "anonymous") return;
    throw new Refusal(401, "no credential", 'Bearer realm="orders", DPoP algs="ES256"');
  }
  const check = flaw && !["scope", "client", "role", "tenant", "step_up", "path"].includes(flaw);
  const claims = await (check ? lenient(flaw) : strict)(token, request).catch((error) => {
    throw error instanceof Refusal ? error : invalid(error.message);
  });
  permit(claims, route, found, request, flaw);
}

function asked(request) {
  const all = (name) =>
    request.rawHeaders.filter((_, index, raw) => index % 2 === 1 && raw[index - 1].toLowerCase() === name);
  const { headers } = request;
  return {
    method: request.method,
    path: request.url,
    host: headers.host ?? headers[":authority"],
    authorization: request.httpVersionMajor === 2 ? [headers.authorization ?? []].flat() : all("authorization"),
    proofs: request.httpVersionMajor === 2 ? [headers.dpop ?? []].flat() : all("dpop"),
    cookie: headers.cookie,
    forwarded: headers["x-forwarded-access-token"],
    protocols: headers["sec-websocket-protocol"],
  };
}

// What tells a client to use a nonce.
const nonce = (request) => (request.url.startsWith("/nonce/") ? { "dpop-nonce": NONCE } : {});

// Status, fields and body of the answer.
async function answer(request, flaw) {
  try {
    await decide(asked(request), flaw);
    return [200, nonce(request), { decision: "served" }];
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    const fields = error.challenge ? { "www-authenticate": error.challenge } : {};
    return [error.status, { ...nonce(request), ...fields }, { decision: "refused", reason: error.message }];
  }
}

function handWritten(flaw) {
  const server = createSecureServer({ ...TLS, allowHTTP1: true }, async (request, response) => {
    request.resume();
    const [status, fields, body] = await answer(request, flaw);
    response.writeHead(status, { "content-type": "application/json", ...fields });
    response.end(JSON.stringify(body));
  });
  server.on("upgrade", async (request, socket) => {
    const [status, fields, body] = await answer(request, flaw);
    const protocol = "sec-websocket-protocol: orders\r\nupgrade: websocket\r\nconnection: upgrade\r\n";
    const text = JSON.stringify(body);
    const length = `content-length: ${text.length}\r\nconnection: close\r\n`;
    const more = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.end(
      status === 200
        ? `HTTP/1.1 101 Switching Protocols\r\n${protocol}\r\n`
        : `HTTP/1.1 ${status} Refused\r\n${more.join("")}${length}\r\n${text}`,
    );
  });
  return server;
}

// The middleware as its makers describe it; with `bound`, it is told to look at bindings.
function byMiddleware(bound) {
  const app = express();
  app.disable("x-powered-by");
  app.use(express.urlencoded({ extended: false }));
  const certificateOf = (request) => request.socket.getPeerCertificate().raw;
  app.use(
    middleware.auth({
      issuerBaseURL: issuer,
      audience: AUDIENCE,
      strict: true,
      dpop: { enabled: bound },
      ...(bound ? { getCertificate: certificateOf } : { mtls: { enabled: false } }),
    }),
  );
  const served = (_, response) => response.json({ decision: "served" });
  app.get("/orders/:id", middleware.scopeIncludesAny("orders:read orders:admin"), served);
  app.post("/orders", middleware.requiredScopes("orders:write"), served);
  app.use((error, _request, response, _next) => {
    response.set(error.headers ?? {}).status(error.status ?? 500);
    response.json({ decision: "refused", reason: error.message });
  });
  return https.createServer(TLS, app);
}

const FLAWS = ["signature", "alg", "issuer", "audience", "kind", "time", "several", "anonymous", "binding"];
const OMISSIONS = ["scope", "client", "role", "tenant", "step_up", "path"];
const apis = { sound: handWritten(), middleware: byMiddleware(true), unbound: byMiddleware(false) };
for (const flaw of [...FLAWS, ...OMISSIONS]) apis[flaw] = handWritten(flaw);

const ports = {};
for (const [name, server] of Object.entries(apis)) {
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  ports[name] = server.address().port;
}
console.log(JSON.stringify(ports));
await lines.next();
process.exit();
