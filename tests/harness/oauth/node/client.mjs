// A client of the authorization server and of the APIs, that can also cheat. In: one line of JSON
// that says where all is, then one call a line. Out: for each, one line with the API's answer and
// the port that the call came from. Tokens are got or forged as the call describes them, and stay
// in this process, and in a file for whoever looks for them where they must not be.
import { createHash, randomUUID } from "node:crypto";
import { appendFileSync, readFileSync } from "node:fs";
import { connect } from "node:http2";
import https from "node:https";
import readline from "node:readline";
import * as jose from "jose";

const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const setup = JSON.parse((await lines.next()).value);
const { issuer, secret, ports } = setup;
const ca = readFileSync(setup.authority);
const certificates = Object.fromEntries(
  Object.entries(setup.certificates).map(([name, { certificate, key }]) => [
    name,
    { cert: readFileSync(certificate), key: readFileSync(key) },
  ]),
);
const issuerKeys = JSON.parse(readFileSync(setup.private_keys));
const keep = (...secrets) => appendFileSync(setup.secrets, secrets.map((one) => `${one}\n`).join(""));
const now = () => Math.floor(Date.now() / 1000);

// Keys that prove possession, or do not.
const proofKeys = {};
for (const name of ["own", "stranger", "careful"]) {
  proofKeys[name] = await jose.generateKeyPair("ES256", { extractable: true });
}
const foreignKey = await jose.generateKeyPair("RS256", { extractable: true });

// One exchange on a connection of its own.
function exchange(port, { method, path, fields = [], body, certificate }) {
  const headers = ["Host", `localhost:${port}`, ...fields.flat()];
  if (body !== undefined) headers.push("Content-Length", String(Buffer.byteLength(body)));
  return new Promise((resolve, reject) => {
    const options = { host: "localhost", family: 4, port, method, path, headers, ca, agent: false };
    const request = https.request({ ...options, ...certificates[certificate] });
    let from;
    request.on("socket", (socket) => socket.on("secureConnect", () => (from = socket.localPort)));
    request.on("upgrade", (response, socket) => {
      socket.destroy();
      resolve({ status: 101, headers: response.headers, text: "", port: from });
    });
    request.on("response", async (response) => {
      let text = "";
      for await (const piece of response) text += piece;
      const { statusCode: status, headers: answered } = response;
      resolve({ status, headers: answered, text, port: from });
    });
    request.on("error", reject);
    request.end(body);
  });
}

function exchangeByHttp2(port, { method, path, fields = [], body, certificate }) {
  return new Promise((resolve, reject) => {
    const options = { ca, servername: "localhost", ...certificates[certificate] };
    const session = connect(`https://127.0.0.1:${port}`, options);
    session.on("error", reject);
    const pseudo = { ":method": method, ":path": path, ":authority": `localhost:${port}` };
    const request = session.request({ ...pseudo, ...Object.fromEntries(fields) });
    const answer = { text: "" };
    request.on("response", (headers) => Object.assign(answer, { status: headers[":status"], headers }));
    request.setEncoding("utf8").on("data", (piece) => (answer.text += piece));
    request.on("error", reject).on("end", () => {
      const { localPort } = session.socket;
      session.close(() => resolve({ ...answer, port: localPort }));
    });
    request.end(body);
  });
}

const url = (address) => {
  const { pathname, search } = new URL(address, issuer);
  return pathname + search;
};
const issuerPort = Number(new URL(issuer).port);

async function tokenRequest(client, parameters, certificate) {
  const basic = Buffer.from(`${client}:${secret}`).toString("base64");
  const form = new URLSearchParams(parameters).toString();
  const fields = [["Authorization", `Basic ${basic}`], ["Content-Type", "application/x-www-form-urlencoded"]];
  if (client === "batch-dpop") {
    fields.push(["DPoP", await proof({ method: "POST", htu: `${issuer}/token` }, {})]);
  }
  const call = { method: "POST", path: "/token", fields, body: form, certificate };
  const answered = await exchange(issuerPort, call);
  if (answered.status !== 200) throw new Error(`no token: ${answered.status} ${answered.text}`);
  const tokens = JSON.parse(answered.text);
  for (const name of ["access_token", "refresh_token", "id_token"]) if (tokens[name]) keep(tokens[name]);
  return tokens;
}

// Signs in as a person would, by the server's own forms.
async function authorize(subject, scope, resource) {
  const jar = new Map();
  const verifier = jose.base64url.encode(crypto.getRandomValues(new Uint8Array(32)));
  const challenge = createHash("sha256").update(verifier).digest("base64url");
  const query = new URLSearchParams({
    client_id: "web", response_type: "code", redirect_uri: "https://localhost/callback", resource,
    scope: `openid offline_access ${scope}`, prompt: "consent", code_challenge: challenge,
    code_challenge_method: "S256", state: randomUUID(),
  });
  let call = { method: "GET", path: `/auth?${query}` };
  for (let step = 0; step < 12; step += 1) {
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join("; ");
    const fields = [["Cookie", cookie], ["Content-Type", "application/x-www-form-urlencoded"]];
    const { status, headers, text } = await exchange(issuerPort, { ...call, fields });
    for (const line of headers["set-cookie"] ?? []) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
      jar.set(name, value);
    }
    if (headers.location?.startsWith("https://localhost/callback")) {
      const code = new URL(headers.location).searchParams.get("code");
      keep(code, verifier);
      const parameters = { grant_type: "authorization_code", code, code_verifier: verifier };
      return tokenRequest("web", { ...parameters, redirect_uri: "https://localhost/callback" });
    }
    if (headers.location) {
      call = { method: "GET", path: url(headers.location) };
      continue;
    }
    const form = /<form[^>]*action="([^"]+)"/.exec(text)?.[1];
    if (status !== 200 || !form) throw new Error(`no form: ${status} ${text.slice(0, 400)}`);
    const prompt = /name="prompt" value="([^"]+)"/.exec(text)[1];
    const body = new URLSearchParams({ prompt, ...(prompt === "login" && { login: subject, password: "x" }) });
    call = { method: "POST", path: url(form), body: body.toString() };
  }
  throw new Error("signing in did not end");
}

const GRANTS = {
  service: ({ client = "batch-nightly", scope, resource }) =>
    tokenRequest(client, { grant_type: "client_credentials", scope, resource },
      client === "batch-mtls" ? "own" : undefined),
  person: ({ subject = "alice", scope, resource }) => authorize(subject, scope, resource),
  async refreshed({ subject = "alice", scope, resource }) {
    const { refresh_token } = await authorize(subject, scope, resource);
    return tokenRequest("web", { grant_type: "refresh_token", refresh_token });
  },
};

const got = new Map();

async function granted(recipe) {
  const name = JSON.stringify(recipe);
  if (!got.has(name)) {
    const wanted = { scope: "orders:read", resource: "https://orders.example", ...recipe };
    got.set(name, await GRANTS[recipe.grant](wanted));
  }
  return got.get(name)[recipe.part ?? "access_token"];
}

// Times may be written as offsets from now: "+60", "-60".
const timed = (claims) =>
  Object.fromEntries(
    Object.entries(claims)
      .filter(([, value]) => value !== null)
      .map(([name, value]) => [name, /^[+-]\d+$/.test(value) ? now() + Number(value) : value]),
  );

const signingKey = (alg) => issuerKeys.find((key) => key.alg === alg);

async function forged({ forge, header = {}, key = "RS256", bound, break: broken }) {
  const claims = timed({
    iss: issuer, aud: "orders-api", sub: "alice", client_id: "web", scope: "orders:read",
    iat: "+0", exp: "+300", jti: randomUUID(), ...forge,
  });
  if (bound) {
    claims.cnf = { jkt: await jose.calculateJwkThumbprint(await jose.exportJWK(proofKeys[bound].publicKey)) };
  }
  const encode = (value) => jose.base64url.encode(JSON.stringify(value));
  const fields = Object.fromEntries(
    Object.entries({ alg: key, typ: "at+jwt", kid: signingKey(key)?.kid, ...header })
      .filter(([, value]) => value !== null),
  );
  if (key === "none") return `${encode({ ...fields, alg: "none" })}.${encode(claims)}.`;
  let secretKey;
  if (key === "foreign") {
    Object.assign(fields, { alg: "RS256", kid: signingKey("RS256").kid }, header);
    secretKey = foreignKey.privateKey;
  } else if (key === "HS256") {
    // The classic: the public key, taken for the secret of an HMAC.
    const { d, p, q, dp, dq, qi, ...open } = signingKey("RS256");
    secretKey = new TextEncoder().encode(await jose.exportSPKI(await jose.importJWK(open, "RS256", { extractable: true })));
    fields.kid = open.kid;
  } else {
    secretKey = await jose.importJWK(signingKey(key), key);
  }
  const token = await new jose.SignJWT(claims).setProtectedHeader(fields).sign(secretKey);
  const parts = token.split(".");
  if (broken === "claims") parts[1] = encode({ ...claims, sub: "root" });
  if (broken === "signature") parts[2] = "";
  if (broken === "truncated") parts[1] = parts[1].slice(0, 12);
  if (broken === "halved") return token.slice(0, parts[0].length + 12);
  return parts.join(".");
}

async function tokenOf(recipe) {
  if (recipe.text !== undefined) return recipe.text;
  return recipe.grant ? granted(recipe) : forged(recipe);
}

// A DPoP proof, sound but for what `wrong` says.
async function proof({ method, htu, token }, wrong) {
  if (wrong.text !== undefined) return wrong.text;
  const pair = proofKeys[wrong.key ?? "own"];
  const jwk = await jose.exportJWK(wrong.private ? pair.privateKey : pair.publicKey);
  const ath = token && createHash("sha256").update(token).digest("base64url");
  const claims = timed({ htm: method, htu, iat: "+0", jti: randomUUID(), ath, ...wrong.claims });
  if (claims.ath === undefined) delete claims.ath;
  const header = { typ: "dpop+jwt", alg: "ES256", jwk, ...wrong.header };
  if (wrong.alg) {
    const key = new TextEncoder().encode("a shared secret of thirty-two octets");
    return new jose.SignJWT(claims).setProtectedHeader({ ...header, alg: wrong.alg }).sign(key);
  }
  const signed = await new jose.SignJWT(claims).setProtectedHeader(header).sign(pair.privateKey);
  const [head, , signature] = signed.split(".");
  const other = jose.base64url.encode(JSON.stringify({ ...claims, jti: randomUUID() }));
  return wrong.break ? `${head}.${other}.${signature}` : signed;
}

const kept = new Map();

// Puts a token where the call wants it.
const PLACES = {
  bearer: (token) => ({ fields: [["Authorization", `Bearer ${token}`]] }),
  dpop: (token) => ({ fields: [["Authorization", `DPoP ${token}`]] }),
  other: (token) => ({ fields: [["Authorization", `Token ${token}`]] }),
  bare: (token) => ({ fields: [["Authorization", token]] }),
  lower: (token) => ({ fields: [["authorization", `bearer ${token}`]] }),
  form: (token) => ({
    fields: [["Content-Type", "application/x-www-form-urlencoded"]],
    body: new URLSearchParams({ access_token: token }).toString(),
  }),
  query: (token) => ({ query: `access_token=${encodeURIComponent(token)}` }),
  cookie: (token) => ({ fields: [["Cookie", `theme=dark; sid_jwt=${token}`]] }),
  forwarded: (token) => ({ fields: [["X-Forwarded-Access-Token", token]] }),
  socket: (token) => ({
    fields: [
      ["Connection", "Upgrade"], ["Upgrade", "websocket"], ["Sec-WebSocket-Version", "13"],
      ["Sec-WebSocket-Key", Buffer.from(randomUUID().slice(0, 16)).toString("base64")],
      ["Sec-WebSocket-Protocol",
        `base64url.bearer.authorization.k8s.io.${jose.base64url.encode(token)}, orders`],
    ],
  }),
};

async function make(call) {
  const { api, method = "GET", path, http = "1.1", place = ["bearer"], token, proofs = [], certificate } = call;
  const port = ports[api];
  const fields = [...(call.fields ?? [])];
  let { body } = call;
  let target = path;
  const text = token && (await tokenOf(token));
  if (text) keep(text);
  for (const name of token ? [place].flat() : []) {
    const put = PLACES[name](text);
    fields.push(...(put.fields ?? []));
    body = put.body ?? body;
    if (put.query) target += (target.includes("?") ? "&" : "?") + put.query;
  }
  for (const wrong of proofs) {
    const htu = `https://localhost:${port}${path.split("?")[0]}`;
    const made = kept.get(wrong.again) ?? (await proof({ method, htu, token: text }, wrong));
    keep(made);
    if (wrong.keep) kept.set(wrong.keep, made);
    fields.push(["DPoP", made]);
  }
  const request = { method, path: target, fields, body, certificate };
  const answered = await (http === "2" ? exchangeByHttp2 : exchange)(port, request);
  let said = {};
  try {
    said = JSON.parse(answered.text);
  } catch {
    // Not every answer is a decision.
  }
  return {
    status: answered.status,
    challenge: answered.headers["www-authenticate"] ?? null,
    reason: said.reason ?? null,
    client_port: answered.port,
    server_port: port,
  };
}

console.log(JSON.stringify({ pid: process.pid }));
for await (const line of { [Symbol.asyncIterator]: () => lines }) {
  let answer;
  try {
    answer = await make(JSON.parse(line));
  } catch (error) {
    answer = { error: `${error.stack}` };
  }
  console.log(JSON.stringify(answer));
}
