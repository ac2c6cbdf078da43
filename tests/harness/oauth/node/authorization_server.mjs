// A certified authorization server. In: one line of JSON on standard input. Out: its port as the
// first line of standard output, and its keys in two files: the public ones for whoever verifies,
// the private ones for the client, which forges with them.
import { X509Certificate } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import https from "node:https";
import readline from "node:readline";
import * as jose from "jose";
import { Provider } from "oidc-provider";

const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const setup = JSON.parse((await lines.next()).value);
const { certificate, key, authority, secret } = setup;

const keys = [];
for (const alg of ["RS256", "PS256", "ES256", "EdDSA"]) {
  const { privateKey } = await jose.generateKeyPair(alg, { extractable: true });
  keys.push({ ...(await jose.exportJWK(privateKey)), alg, use: "sig", kid: `key-of-${alg}` });
}
const open = keys.map(({ d, p, q, dp, dq, qi, ...open }) => open);
writeFileSync(setup.private_keys, JSON.stringify(keys), { mode: 0o600 });
writeFileSync(setup.public_keys, JSON.stringify({ keys: open }));

const RESOURCES = {
  "https://orders.example": { audience: "orders-api", accessTokenFormat: "jwt" },
  "https://ledger.example": { audience: "ledger-api", accessTokenFormat: "jwt" },
  "https://opaque.example": { audience: "opaque-api", accessTokenFormat: "opaque" },
};
const SCOPES = "orders:read orders:write orders:admin refunds:write reports:read";

const client = (client_id, more = {}) => ({
  client_id,
  client_secret: secret,
  grant_types: ["client_credentials"],
  redirect_uris: [],
  response_types: [],
  scope: `openid offline_access ${SCOPES}`,
  ...more,
});

const configuration = {
  jwks: { keys },
  cookies: { keys: [secret] },
  scopes: ["openid", "offline_access", ...SCOPES.split(" ")],
  clients: [
    client("web", {
      grant_types: ["authorization_code", "refresh_token"],
      redirect_uris: ["https://localhost/callback"],
      response_types: ["code"],
    }),
    client("batch-nightly"),
    client("batch-dpop", { dpop_bound_access_tokens: true }),
    client("batch-mtls", { tls_client_certificate_bound_access_tokens: true }),
    client("intruder"),
  ],
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  rotateRefreshToken: true,
  ttl: { AccessToken: 300, ClientCredentials: 300 },
  extraTokenClaims: (_, token) =>
    token.accountId
      ? { tenant: "north", roles: ["auditor"], acr: "phr", auth_time: Math.floor(Date.now() / 1000) }
      : { tenant: "north" },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: true },
    dPoP: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    mTLS: {
      enabled: true,
      certificateBoundAccessTokens: true,
      getCertificate(ctx) {
        const { raw } = ctx.socket.getPeerCertificate();
        return raw && new X509Certificate(raw);
      },
    },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => "https://orders.example",
      useGrantedResource: () => true,
      getResourceServerInfo: (_, resource) => ({
        scope: SCOPES,
        jwt: { sign: { alg: "RS256" } },
        ...RESOURCES[resource],
      }),
    },
  },
};

const tls = {
  cert: readFileSync(certificate),
  key: readFileSync(key),
  ca: readFileSync(authority),
  requestCert: true,
  rejectUnauthorized: false,
};
let answer = (_, response) => response.writeHead(503).end();
const server = https.createServer(tls, (request, response) => answer(request, response));
server.listen(0, "127.0.0.1", () => {
  const { port } = server.address();
  const provider = new Provider(`https://localhost:${port}`, configuration);
  provider.on("server_error", (_, error) => console.error(error));
  answer = provider.callback();
  console.log(port);
});
// The server ends with whoever started it.
await lines.next();
process.exit();
