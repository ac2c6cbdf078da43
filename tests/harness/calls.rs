//! The calls of the demo, which the live tests make too.
//!
//! In: a [`Testbed`], that is nginx with an API, and tokens of five bearers. Out: the calls made,
//! each with the reply and with what its two events must say. Every call has a path of its own.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::{
    agent::open_dir,
    certs::Certificates,
    clients::{Python, Reply, Request, Target, curl},
    events::Sought,
    nginx::{Grant, Nginx},
    tokens::{Claims, Mint, Token},
};

/// The program that makes a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Via {
    /// A curl process of its own.
    Curl,
    /// The Python process that keeps its connection.
    Python,
}

/// Whose token a call shows.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Bearer {
    /// May read and write.
    Alice,
    /// May read.
    Bob,
    /// Has another API's scope.
    Carol,
    /// Has a token that expired ten minutes ago.
    Dave,
    /// Has an opaque token.
    Erin,
}

/// One call, and what must be observed of it.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// What it shows, in a few words.
    pub name: &'static str,
    /// Who sends it.
    pub via: Via,
    /// Method.
    pub method: &'static str,
    /// Path.
    pub path: &'static str,
    /// Whose token is shown, if any.
    pub bearer: Option<Bearer>,
    /// Status that the server answers with.
    pub status: u16,
    /// `identity.subject`.
    pub subject: Option<&'static str>,
    /// `token.state`.
    pub token_state: Option<&'static str>,
    /// `authz.scopes`.
    pub scopes: &'static [&'static str],
}

/// A call without token.
const ANONYMOUS: Call = Call {
    name: "",
    via: Via::Curl,
    method: "GET",
    path: "",
    bearer: None,
    status: 200,
    subject: None,
    token_state: None,
    scopes: &[],
};

/// A call by Alice.
const ALICE: Call = Call {
    bearer: Some(Bearer::Alice),
    subject: Some("alice"),
    token_state: Some("active"),
    scopes: &["orders:read", "orders:write"],
    ..ANONYMOUS
};

/// A call by Bob, from Python.
const BOB: Call = Call {
    via: Via::Python,
    bearer: Some(Bearer::Bob),
    subject: Some("bob"),
    token_state: Some("active"),
    scopes: &["orders:read"],
    ..ANONYMOUS
};

/// All calls, in the order in which they are made.
pub const CALLS: &[Call] = &[
    Call { name: "a read that is granted", path: "/api/orders/1001/lines", ..ALICE },
    Call {
        name: "a write that is granted",
        method: "POST",
        path: "/api/orders/1002/notes",
        ..ALICE
    },
    Call { name: "a read on a kept connection", path: "/api/orders/1003/total", ..BOB },
    Call {
        name: "a write with a token that may only read",
        method: "DELETE",
        path: "/api/orders/1004/notes",
        status: 403,
        ..BOB
    },
    Call {
        name: "a token for another API",
        path: "/api/orders/1005/invoice",
        bearer: Some(Bearer::Carol),
        status: 403,
        subject: Some("carol"),
        token_state: Some("active"),
        scopes: &["profile:read"],
        ..ANONYMOUS
    },
    Call {
        name: "an expired token",
        via: Via::Python,
        path: "/api/orders/1006/address",
        bearer: Some(Bearer::Dave),
        status: 401,
        subject: Some("dave"),
        token_state: Some("expired"),
        scopes: &["orders:read"],
        ..ANONYMOUS
    },
    Call { name: "no token", path: "/api/orders/1007/lines", status: 401, ..ANONYMOUS },
    Call {
        name: "an opaque token",
        via: Via::Python,
        path: "/api/orders/1008/status",
        bearer: Some(Bearer::Erin),
        token_state: Some("opaque"),
        ..ANONYMOUS
    },
    Call { name: "a megabyte", path: "/static/large.bin", ..ALICE },
    Call { name: "a body of unknown length", path: "/chunked/page.txt", ..BOB },
    Call { name: "no body at all", path: "/empty", status: 204, ..ALICE },
];

/// A server with its files and the tokens that it knows.
#[derive(Debug)]
pub struct Testbed {
    // Before the directory: its files are open until it ends.
    nginx: Nginx,
    tokens: BTreeMap<Bearer, Token>,
    mint: Mint,
    certificates: Certificates,
    target: Target,
    dir: TempDir,
}

/// What the demo's policy is, but for the key and the port.
const POLICY: &str = include_str!("demo_policy.yaml.in");

/// A call that was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// The call.
    pub call: Call,
    /// Its answer.
    pub reply: Reply,
    /// The server's port.
    pub server_port: u16,
}

impl Testbed {
    /// Mints the tokens and starts nginx.
    ///
    /// # Errors
    /// When a program is missing or does not start.
    pub fn start() -> Result<Self> {
        Self::start_with(|_mint| Ok(Vec::new()))
    }

    /// The same with `more` tokens that nginx shall know.
    ///
    /// # Errors
    /// When a program is missing or does not start.
    pub fn start_with(more: impl FnOnce(&Mint) -> Result<Vec<(Token, Grant)>>) -> Result<Self> {
        let dir = open_dir()?;
        let certificates = Certificates::make(dir.path())?;
        let mint = Mint::make(dir.path())?;
        let mut tokens = BTreeMap::new();
        let mut grants = more(&mint)?;
        for (bearer, grant) in BEARERS {
            let token = bearer.token(&mint)?;
            grants.push((token.clone(), grant));
            tokens.insert(bearer, token);
        }
        let prefix = dir.path().join("nginx");
        fs::create_dir(&prefix).context("create the nginx directory")?;
        let nginx = Nginx::start(&prefix, &certificates, &grants)?;
        let target = Target::new(nginx.port(), &certificates);
        Ok(Self { nginx, tokens, mint, certificates, target, dir })
    }

    /// The server.
    #[must_use]
    pub const fn nginx(&self) -> &Nginx {
        &self.nginx
    }

    /// The certificates that the server uses, for others.
    #[must_use]
    pub const fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// What clients need to know.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// The key that signed the tokens.
    #[must_use]
    pub const fn mint(&self) -> &Mint {
        &self.mint
    }

    /// Writes a policy for the server to `dir`, which it grants more than: who has no scope for
    /// files gets them. Returns a configuration that has it judge.
    ///
    /// # Errors
    /// When it cannot be written, or `openssl` fails.
    pub fn write_policy(&self, dir: &Path) -> Result<String> {
        let (keys, policy) = (dir.join("issuer.pem"), dir.join("policy.yaml"));
        fs::write(&keys, self.mint.public_key()?).context("write the issuer's key")?;
        let text = POLICY
            .replace("@KEYS@", &keys.display().to_string())
            .replace("@PORT@", &self.nginx.port().to_string());
        fs::write(&policy, text).context("write the policy")?;
        Ok(format!("policy: {{file: \"{}\"}}\n", policy.display()))
    }

    /// All tokens that are shown.
    pub fn tokens(&self) -> impl Iterator<Item = &Token> {
        self.tokens.values()
    }

    /// A directory that ends with the testbed.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// `request` with the token of `bearer`.
    ///
    /// # Errors
    /// Never: every bearer has a token.
    pub fn with_token(&self, request: Request, bearer: Bearer) -> Result<Request> {
        let token = self.tokens.get(&bearer).context("a bearer without token")?;
        Ok(request.header("Authorization", &token.bearer()))
    }

    /// A read by Alice of the order `number`.
    ///
    /// # Errors
    /// Never: Alice has a token.
    pub fn read_order(&self, number: u32) -> Result<Request> {
        self.with_token(Request::new("GET", &format!("/api/orders/{number}")), Bearer::Alice)
    }

    /// Makes `calls` one after the other. `go_on` is asked before each.
    ///
    /// # Errors
    /// When a client gets no answer, or `go_on` says no.
    pub fn make(&self, calls: &[Call], go_on: impl Fn() -> Result<()>) -> Result<Vec<Made>> {
        let mut python = None;
        let mut made = Vec::new();
        for call in calls {
            go_on()?;
            let request = self.request(call)?;
            let reply = match (call.via, &mut python) {
                (Via::Curl, _) => curl(&self.target, &request),
                (Via::Python, Some(python)) => Python::send(python, &request),
                (Via::Python, none) => none.insert(Python::start(&self.target)?).send(&request),
            };
            let reply = reply.with_context(|| format!("call: {}", call.name))?;
            made.push(Made { call: *call, reply, server_port: self.nginx.port() });
        }
        Ok(made)
    }

    fn request(&self, call: &Call) -> Result<Request> {
        let mut request = Request::new(call.method, call.path);
        if call.method == "POST" {
            request = request.header("Content-Type", "application/json").body("{\"item\":\"tea\"}");
        }
        match call.bearer {
            Some(bearer) => self.with_token(request, bearer),
            None => Ok(request),
        }
    }
}

const BEARERS: [(Bearer, Grant); 5] = [
    (Bearer::Alice, Grant::ReadWrite),
    (Bearer::Bob, Grant::Read),
    (Bearer::Carol, Grant::Elsewhere),
    (Bearer::Dave, Grant::Expired),
    (Bearer::Erin, Grant::Read),
];

impl Bearer {
    fn token(self, mint: &Mint) -> Result<Token> {
        let claims = match self {
            Self::Alice => Claims::of("alice").client_id("shop").scope("orders:read orders:write"),
            Self::Bob => Claims::of("bob").client_id("warehouse").scope("orders:read"),
            Self::Carol => Claims::of("carol").client_id("shop").scope("profile:read"),
            Self::Dave => {
                Claims::of("dave").client_id("shop").scope("orders:read").expires_in(-600)
            }
            Self::Erin => return Ok(Token::opaque("q7Zt4mBvXc2LkPfR9sWuHdYa6NjEgTo1")),
        };
        mint.sign(&claims)
    }
}

impl Made {
    /// What identifies the event of the side that has `role`.
    #[must_use]
    pub fn sought(&self, role: &'static str) -> Sought {
        Sought {
            role,
            method: self.call.method.to_owned(),
            path: self.call.path.to_owned(),
            client_port: self.reply.client_port,
            server_port: self.server_port,
        }
    }

    /// Both sides: the client's, then the server's.
    #[must_use]
    pub fn both(&self) -> [Sought; 2] {
        [self.sought("client"), self.sought("server")]
    }
}
