// SPDX-License-Identifier: Apache-2.0
//! Who asks, and what they may do. One of three ways for a whole registry: everybody may do everything; users with
//! passwords and a policy; tokens that a service of somebody else's gives out.

mod door;
mod htpasswd;
mod passes;
mod policy;
mod token;
mod turns;

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue};
use oci::RepositoryName;

pub(crate) use door::Door;
pub use htpasswd::{HtpasswdError, Users};
pub use policy::{Policy, PolicyError};
pub use token::{TokenError, Tokens};

pub(crate) use passes::GOOD_FOR as PASS_SECONDS;
use token::Grant;

/// What somebody may do with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Action {
    /// Read everything of it.
    Pull,
    /// Add blobs, manifests and tags.
    Push,
    /// Take them away.
    Delete,
}

/// How a registry tells who may do what.
#[derive(Debug, Default)]
#[non_exhaustive]
pub enum Access {
    /// Everybody may do everything.
    #[default]
    Open,
    /// Users with passwords.
    Passwords {
        /// Who they are.
        users: Users,
        /// What they may do; without it, everything.
        policy: Option<Policy>,
        /// Whether those who do not say who they are may pull.
        anonymous_pull: bool,
    },
    /// Tokens.
    Tokens(Tokens),
}

/// Who asks, as far as it is proved.
#[derive(Debug)]
pub(crate) struct Caller<'a> {
    access: &'a Access,
    /// The user's name; of a token, its subject.
    pub(crate) name: Option<String>,
    grants: Vec<Grant>,
    /// Whether they have a pass or a token, be it nobody's.
    has_pass: bool,
}

/// Somebody who did not prove who they are, or may not do this.
#[derive(Debug)]
pub(crate) enum Refused {
    /// They may try again, having answered the challenge.
    Unauthorized {
        /// The value of `WWW-Authenticate`.
        challenge: String,
    },
    /// They may not.
    Denied,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted<'a> {
    /// To know whether one may come in at all.
    Entry,
    /// What is counted.
    Metrics,
    /// The list of repositories.
    Catalog,
    /// To do this with a repository.
    Repository(&'a RepositoryName, Action),
}

/// What a client is told that shall send a name and a password.
const BASIC: &str = "Basic realm=\"registry\", charset=\"UTF-8\"";

impl Wanted<'_> {
    /// As a token service is asked for it.
    fn scope(&self) -> Option<String> {
        match self {
            Wanted::Entry | Wanted::Metrics => None,
            Wanted::Catalog => Some("registry:catalog:*".to_owned()),
            // Who may push will also look what is there already.
            Wanted::Repository(name, Action::Push) => Some(format!("repository:{name}:pull,push")),
            Wanted::Repository(name, action) => Some(format!("repository:{name}:{}", action.as_str())),
        }
    }
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Action::Pull => "pull",
            Action::Push => "push",
            Action::Delete => "delete",
        }
    }
}

impl Access {
    /// Who sent these headers.
    ///
    /// # Errors
    /// A password or token that is wrong; the challenge is for `wanted`.
    pub(crate) async fn identify(
        &self,
        headers: &HeaderMap,
        door: &Door,
        wanted: Wanted<'_>,
    ) -> Result<Caller<'_>, Refused> {
        let mut caller = Caller { access: self, name: None, grants: Vec::new(), has_pass: false };
        let Some(authorization) = headers.get(AUTHORIZATION) else { return Ok(caller) };
        match self {
            Access::Open => {}
            // Some clients say so that they have nothing to say.
            Access::Passwords { .. } if htpasswd::is_nobody(authorization) => {}
            Access::Passwords { users, anonymous_pull: true, .. } if bearer(authorization).is_some() => {
                match bearer(authorization).and_then(|pass| users.passes.holder(pass)) {
                    Some(holder) => (caller.name, caller.has_pass) = (holder.user, true),
                    None => return Err(self.challenge(door, wanted, Some("invalid_token"))),
                }
            }
            Access::Passwords { users, .. } => match users.check(authorization, door.client()).await {
                Some(name) => caller.name = Some(name),
                None => return Err(self.challenge(door, wanted, None)),
            },
            Access::Tokens(tokens) => match bearer(authorization).and_then(|token| tokens.check(token)) {
                Some(claims) => {
                    // A service may give tokens to those of whom it knows nothing: they have no subject.
                    caller.name = Some(claims.subject).filter(|subject| !subject.is_empty());
                    caller.has_pass = true;
                    caller.grants = claims.access;
                }
                None => return Err(self.challenge(door, wanted, Some("invalid_token"))),
            },
        }
        Ok(caller)
    }

    /// A pass for whoever sent these headers, and who that is; `None` where there are no passes.
    ///
    /// # Errors
    /// A password that is wrong.
    pub(crate) async fn pass(
        &self,
        headers: &HeaderMap,
        door: &Door,
    ) -> Result<Option<(Option<String>, String)>, Refused> {
        let Access::Passwords { users, anonymous_pull: true, .. } = self else { return Ok(None) };
        let user = match headers.get(AUTHORIZATION).filter(|value| !htpasswd::is_nobody(value)) {
            None => None,
            Some(authorization) => match users.check(authorization, door.client()).await {
                Some(user) => Some(user),
                None => return Err(Refused::Unauthorized { challenge: BASIC.to_owned() }),
            },
        };
        let pass = users.passes.give(user.as_deref());
        Ok(Some((user, pass)))
    }

    fn challenge(&self, door: &Door, wanted: Wanted<'_>, error: Option<&str>) -> Refused {
        let challenge = match self {
            Access::Tokens(tokens) => tokens.challenge(wanted.scope().as_deref(), error),
            Access::Passwords { anonymous_pull: true, .. } => match door.origin() {
                Some(origin) => {
                    let (realm, service) = (format!("{origin}/v2/_token"), door.host());
                    token::challenge(&realm, service, wanted.scope().as_deref(), error)
                }
                None => BASIC.to_owned(),
            },
            _ => BASIC.to_owned(),
        };
        Refused::Unauthorized { challenge }
    }
}

impl Caller<'_> {
    /// Whether they may have what they want.
    pub(crate) fn check(&self, door: &Door, wanted: Wanted<'_>) -> Result<(), Refused> {
        let allowed = match (self.access, wanted) {
            (Access::Open, _) => true,
            // Clients ask here whether they should say who they are.
            (_, Wanted::Entry) => self.name.is_some() || self.has_pass,
            // Nobody's pass is everybody's.
            (_, Wanted::Metrics) => self.name.is_some(),
            // Everybody sees the repositories that they may pull.
            (Access::Passwords { anonymous_pull, .. }, Wanted::Catalog) => *anonymous_pull || self.name.is_some(),
            (Access::Tokens(_), Wanted::Catalog) => self.grants.iter().any(Grant::is_for_catalog),
            (_, Wanted::Repository(name, action)) => self.may(name, action),
        };
        match (allowed, self.access, &self.name) {
            (true, ..) => Ok(()),
            (false, Access::Tokens(_), Some(_)) => Err(self.access.challenge(door, wanted, Some("insufficient_scope"))),
            (false, _, None) => {
                let error = self.has_pass.then_some("insufficient_scope");
                Err(self.access.challenge(door, wanted, error))
            }
            (false, ..) => Err(Refused::Denied),
        }
    }

    /// Whether they may do this with a repository.
    pub(crate) fn may(&self, name: &RepositoryName, action: Action) -> bool {
        match self.access {
            Access::Open => true,
            Access::Passwords { policy, anonymous_pull, .. } => {
                let anonymously = *anonymous_pull && action == Action::Pull;
                anonymously
                    || self.name.as_deref().is_some_and(|user| {
                        policy.as_ref().is_none_or(|policy| policy.allows(user, name.as_str(), action))
                    })
            }
            Access::Tokens(_) => self.grants.iter().any(|grant| grant.allows(name.as_str(), action.as_str())),
        }
    }

    /// Whether the list of repositories shows this one.
    pub(crate) fn sees(&self, name: &RepositoryName) -> bool {
        // A token for the catalogue is for all of it.
        matches!(self.access, Access::Tokens(_)) || self.may(name, Action::Pull)
    }
}

/// The token of `Authorization: Bearer <token>`.
fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
