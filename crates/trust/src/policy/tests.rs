// SPDX-License-Identifier: Apache-2.0

use oci::Digest;
use proptest::prelude::*;

use super::*;
use crate::key::PrivateKey;
use crate::payload::Payload;

const ACCEPT: &str = r#"{"type":"insecureAcceptAnything"}"#;
const REJECT: &str = r#"{"type":"reject"}"#;

fn docker(scopes: &[(&str, &str)]) -> String {
    let scopes: Vec<String> = scopes.iter().map(|(scope, list)| format!("{scope:?}:[{list}]")).collect();
    format!(r#"{{"default":[{REJECT}],"transports":{{"docker":{{{}}}}}}}"#, scopes.join(","))
}

/// The scope that decides about a name.
fn deciding(policy: &Policy, name: &str) -> String {
    policy.decide(&name.parse().unwrap()).scope
}

#[test]
fn the_most_specific_scope_decides() {
    let all = [
        ("", ACCEPT),
        ("a.example", ACCEPT),
        ("a.example/team", ACCEPT),
        ("a.example/team/app", ACCEPT),
        ("a.example/team/app:1", ACCEPT),
        ("a.example:5000", ACCEPT),
        ("*.example", ACCEPT),
        ("*.b.example", ACCEPT),
        ("docker.io/library/debian", ACCEPT),
        ("Capital.Test/team", ACCEPT),
    ];
    let policy = Policy::parse(docker(&all).as_bytes()).unwrap();
    for (name, scope) in [
        ("a.example/team/app:1", "a.example/team/app:1"),
        ("a.example/team/app:2", "a.example/team/app"),
        ("a.example/team/app", "a.example/team/app"),
        ("a.example/team/application", "a.example/team"),
        ("a.example/teams/app", "a.example"),
        ("A.Example/teams/app", "a.example"),
        ("a.example:5000/team/app:1", "a.example:5000"),
        ("a.example:443/team/app:1", "*.example"),
        ("x.y.b.example/app", "*.b.example"),
        ("b.example/app", "*.example"),
        ("example/app", "all registries"),
        ("debian:12", "docker.io/library/debian"),
        ("capital.test/team/app", "Capital.Test/team"),
        ("other.test/app", "all registries"),
    ] {
        assert_eq!(deciding(&policy, name), scope, "{name}");
    }
    let policy = Policy::parse(docker(&[("a.example", ACCEPT)]).as_bytes()).unwrap();
    assert_eq!(deciding(&policy, "b.example/x"), "default");
    let digest = Digest::of(b"x");
    let policy = Policy::parse(docker(&[(&format!("a.example/app@{digest}"), ACCEPT)]).as_bytes()).unwrap();
    assert_eq!(deciding(&policy, &format!("a.example/app:1@{digest}")), format!("a.example/app@{digest}"));
}

#[test]
fn what_is_not_exactly_a_policy_is_refused() {
    let key = r#""keyPath":"/k""#;
    for bad in [
        "",
        "{}",
        r#"{"default":[]}"#,
        r#"{"transports":{}}"#,
        &docker(&[("a.example", "")]),
        &docker(&[("a.example", ACCEPT), ("a.example", REJECT)]),
        &format!(r#"{{"default":[{ACCEPT}],"default":[{REJECT}]}}"#),
        &format!(r#"{{"default":[{ACCEPT}],"defaults":[{REJECT}]}}"#),
        &format!(r#"{{"default":[{ACCEPT}],"transports":{{"docker":{{}},"docker":{{}}}}}}"#),
        r#"{"default":[{"type":"acceptAnything"}]}"#,
        r#"{"default":[{"type":"reject","unless":"tuesday"}]}"#,
        r#"{"default":[{"type":"insecureAcceptAnything","type":"reject"}]}"#,
        r#"{"default":[{"type":"sigstoreSigned"}]}"#,
        r#"{"default":[{"type":"sigstoreSigned","keyPaths":[]}]}"#,
        r#"{"default":[{"type":"sigstoreSigned","keyData":"*"}]}"#,
        &format!(r#"{{"default":[{{"type":"sigstoreSigned",{key},"keyData":"eA=="}}]}}"#),
        &format!(r#"{{"default":[{{"type":"sigstoreSigned",{key},{key}}}]}}"#),
        &format!(r#"{{"default":[{{"type":"sigstoreSigned",{key},"keypath":"/x"}}]}}"#),
        &format!(r#"{{"default":[{{"type":"sigstoreSigned",{key},"signedIdentity":{{"type":"matchAny"}}}}]}}"#),
        &format!(r#"{{"default":[{{"type":"sigstoreSigned",{key},"signedIdentity":{{"type":"matchExact","x":1}}}}]}}"#),
        &format!(
            r#"{{"default":[{{"type":"sigstoreSigned",{key},"signedIdentity":{{"type":"exactReference","dockerReference":"a.example/x"}}}}]}}"#
        ),
        &format!(
            r#"{{"default":[{{"type":"sigstoreSigned",{key},"signedIdentity":{{"type":"exactRepository","dockerRepository":"a.example/x:1"}}}}]}}"#
        ),
        &format!(
            r#"{{"default":[{{"type":"sigstoreSigned",{key},"signedIdentity":{{"type":"remapIdentity","prefix":"a b","signedPrefix":"c"}}}}]}}"#
        ),
        r#"{"default":[{"type":"signedBy","keyType":"GPGKeys"}]}"#,
        r#"{"default":[{"type":"signedBy","keyType":"Keys","keyPath":"/k"}]}"#,
        // Other transports are none of ours, and their requirements must still be such.
        &format!(r#"{{"default":[{ACCEPT}],"transports":{{"dir":{{"":[{{"type":"x"}}]}}}}}}"#),
    ] {
        assert!(Policy::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    assert_eq!(Policy::parse(&vec![b' '; LONGEST + 1]), Err(PolicyError::TooLong));
    let distribution = format!(
        r#"{{"default":[{ACCEPT}],"transports":{{"docker-daemon":{{"":[{ACCEPT}]}},"docker":{{"a.example":[{{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k"}}]}}}}}}"#
    );
    Policy::parse(distribution.as_bytes()).unwrap();
}

#[test]
fn what_corten_cannot_see_to_is_refused_and_not_passed_over() {
    for requirement in [
        r#"{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k"}"#,
        r#"{"type":"signedBaseLayer","baseLayerIdentity":{"type":"matchExact"}}"#,
        r#"{"type":"sigstoreSigned","fulcio":{"caPath":"/ca","oidcIssuer":"x","subjectEmail":"y"},"rekorPublicKeyPath":"/r"}"#,
        r#"{"type":"sigstoreSigned","keyPath":"/k","rekorPublicKeyPath":"/r"}"#,
    ] {
        let list = format!("{ACCEPT},{requirement}");
        let policy = Policy::parse(docker(&[("a.example", &list)]).as_bytes()).unwrap();
        let refusal = policy.decide(&"a.example/x".parse().unwrap()).wants_signature().unwrap_err();
        assert!(matches!(refusal.reason, Reason::Unsupported(_)), "{refusal}");
        assert_eq!(refusal.kind(), Kind::Unsupported);
    }
}

#[test]
fn all_requirements_must_hold_and_the_identity_counts() {
    let pair = PrivateKey::generate(b"").unwrap();
    let private = PrivateKey::from_pem(&pair.private, Some(b"")).unwrap();
    let digest = Digest::of(b"image");
    let name: ImageRef = "a.example/app:1".parse().unwrap();
    let signature = |signed: &str| {
        let payload = Payload { name: signed.parse().unwrap(), digest }.to_text("test", 1);
        Signature { signature: private.sign(&payload).unwrap(), payload }
    };
    let other = PrivateKey::generate(b"").unwrap().public;
    let read = |path: &Path| match path.to_str() {
        Some("/k") => Ok(pair.public.clone().into_bytes()),
        Some("/other") => Ok(other.clone().into_bytes()),
        Some("/nonsense") => Ok(b"nonsense".to_vec()),
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    let judge = |requirements: &str, signed: &str| {
        let policy = Policy::parse(docker(&[("a.example", requirements)]).as_bytes()).unwrap();
        let subject = Subject { name: &name, digests: &[digest] };
        policy.decide(&name).judge(subject, &[signature(signed)], &read).map_err(|refusal| refusal.reason)
    };
    let by = |key: &str, identity: &str| format!(r#"{{"type":"sigstoreSigned",{key}{identity}}}"#);
    let good = by(r#""keyPath":"/k""#, "");
    assert_eq!(judge(&good, "a.example/app:1"), Ok(vec![0]));
    assert!(matches!(judge(&good, "a.example/app"), Err(Reason::Unverified(_))), "the default wants the tag");
    let repository = by(r#""keyPath":"/k""#, r#","signedIdentity":{"type":"matchRepository"}"#);
    assert_eq!(judge(&repository, "a.example/app"), Ok(vec![0]));
    assert_eq!(judge(&by(r#""keyPaths":["/other","/k"]"#, ""), "a.example/app:1"), Ok(vec![0]));
    let data = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &pair.public);
    assert_eq!(judge(&by(&format!(r#""keyData":"{data}""#), ""), "a.example/app:1"), Ok(vec![0]));
    assert!(judge(&format!("{good},{}", by(r#""keyPath":"/other""#, "")), "a.example/app:1").is_err());
    assert!(matches!(judge(&by(r#""keyPath":"/gone""#, ""), "a.example/app:1"), Err(Reason::Key(_))));
    assert!(matches!(judge(&by(r#""keyPaths":["/k","/nonsense"]"#, ""), "a.example/app:1"), Err(Reason::Key(_))));
    assert_eq!(judge(REJECT, "a.example/app:1"), Err(Reason::Rejected));
}

proptest! {
    #[test]
    fn any_text_is_a_policy_or_not_and_never_panics(text in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Policy::parse(&text).is_err());
    }

    #[test]
    fn a_damaged_policy_is_read_or_not_and_never_panics(place in 0usize..400, byte in any::<u8>()) {
        let requirement = r#"{"type":"sigstoreSigned","keyPath":"/k","signedIdentity":{"type":"remapIdentity","prefix":"a.b","signedPrefix":"c.d"}}"#;
        let mut text = docker(&[("a.example/team", requirement), ("*.example", ACCEPT)]).into_bytes();
        let place = place % text.len();
        text[place] = byte;
        if let Ok(policy) = Policy::parse(&text) {
            policy.decide(&"a.example/team/app".parse().unwrap());
        }
    }
}
