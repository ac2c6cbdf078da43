//! How issuers deviate from RFC 9068: one row a dialect. In: the name in a policy. Out: where its
//! tokens keep what.

use crate::names::named_enum;

named_enum! {
    /// Dialect of an issuer's tokens.
    pub enum Profile {
        /// RFC 9068 to the letter, `typ` included.
        Strict9068 = "strict9068",
        /// Only what every JWT has: nothing is required.
        Lax = "lax",
        /// Keycloak
        Keycloak = "keycloak",
        /// Auth0
        Auth0 = "auth0",
        /// Microsoft Entra ID, v1.0 tokens
        EntraV1 = "entra_v1",
        /// Microsoft Entra ID, v2.0 tokens
        EntraV2 = "entra_v2",
        /// Okta custom authorization servers
        Okta = "okta",
        /// Amazon Cognito
        Cognito = "cognito",
        /// Google
        Google = "google",
        /// GitHub: opaque tokens, and the ID tokens of Actions
        Github = "github",
        /// GitLab: opaque tokens, and the ID tokens of CI jobs
        Gitlab = "gitlab",
        /// Slack
        Slack = "slack",
        /// Kubernetes service accounts
        Kubernetes = "kubernetes",
        /// Spring Authorization Server
        Spring = "spring",
    }
}
