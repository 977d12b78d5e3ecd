// SPDX-License-Identifier: Apache-2.0

use super::*;
use crate::key::PrivateKey;

struct Signer {
    private: PrivateKey,
    public: PublicKey,
}

fn signer() -> Signer {
    let pair = PrivateKey::generate(b"").unwrap();
    let private = PrivateKey::from_pem(&pair.private, Some(b"")).unwrap();
    Signer { private, public: PublicKey::from_pem(&pair.public).unwrap() }
}

impl Signer {
    fn sign(&self, name: &str, digest: Digest) -> Signature {
        let payload = Payload { name: name.parse().unwrap(), digest }.to_text("test", 1);
        let signature = self.private.sign(&payload).unwrap();
        Signature { payload, signature }
    }
}

fn no_files(path: &Path) -> io::Result<Vec<u8>> {
    panic!("{} is read", path.display())
}

/// What a rule for `prefix` with `keys` makes of `signatures` of the image `name` with these digests.
fn ruled(
    prefix: &str,
    keys: &[&Signer],
    name: &str,
    digests: &[Digest],
    signatures: &[Signature],
) -> Result<Vec<usize>, Reason> {
    let keys = keys.iter().map(|signer| signer.public.clone()).collect();
    let rules: Rules = [(prefix.parse().unwrap(), keys)].into_iter().collect();
    let trust = Trust { policy: Policy::default(), rules };
    let name = name.parse().unwrap();
    trust.judge(Subject { name: &name, digests }, signatures, &no_files).map_err(|refusal| refusal.reason)
}

#[test]
fn a_rule_is_kept_by_the_right_key_over_the_right_image_under_the_right_name() {
    let (alice, bob) = (signer(), signer());
    let (digest, other) = (Digest::of(b"image"), Digest::of(b"other"));
    let name = "a.example/team/app:1";
    let judge = |signatures: &[Signature]| ruled("a.example/team", &[&alice], name, &[digest], signatures);
    assert_eq!(judge(&[alice.sign(name, digest)]), Ok(vec![0]));
    // cosign names the repository only; another tag is the same image.
    assert_eq!(judge(&[alice.sign("a.example/team/app", digest)]), Ok(vec![0]));
    assert_eq!(judge(&[alice.sign("a.example/team/app:2", digest)]), Ok(vec![0]));
    assert_eq!(judge(&[]), Err(Reason::Unsigned));
    assert_eq!(judge(&[bob.sign(name, digest)]), Err(Reason::Unverified(vec![Fault::Key])));
    assert_eq!(judge(&[alice.sign(name, other)]), Err(Reason::Unverified(vec![Fault::OtherDigest(other)])));
    let elsewhere = "a.example/team/other:1";
    let fault = Fault::OtherName(Box::new(elsewhere.parse().unwrap()));
    assert_eq!(judge(&[alice.sign(elsewhere, digest)]), Err(Reason::Unverified(vec![fault])));
    let mut tampered = alice.sign(name, other);
    tampered.payload = alice.sign(name, digest).payload;
    assert_eq!(judge(&[tampered]), Err(Reason::Unverified(vec![Fault::Key])));
    let signed_nonsense = Signature { payload: b"{}".to_vec(), signature: alice.private.sign(b"{}").unwrap() };
    assert!(
        matches!(judge(&[signed_nonsense]), Err(Reason::Unverified(faults)) if matches!(faults[..], [Fault::Payload(_)]))
    );
    assert_eq!(judge(&[bob.sign(name, digest), alice.sign(name, digest)]), Ok(vec![1]), "one that will do suffices");
}

#[test]
fn any_key_of_a_rule_suffices_and_any_digest_of_the_image() {
    let (alice, bob) = (signer(), signer());
    let (manifest, index) = (Digest::of(b"manifest"), Digest::of(b"index"));
    let judge = |signatures: &[Signature]| {
        ruled("a.example", &[&alice, &bob], "a.example/app:1", &[manifest, index], signatures)
    };
    assert_eq!(judge(&[bob.sign("a.example/app:1", index)]), Ok(vec![0]));
    assert_eq!(judge(&[alice.sign("a.example/app:1", manifest)]), Ok(vec![0]));
    assert!(judge(&[alice.sign("a.example/app:1", Digest::of(b"x"))]).is_err());
}

#[test]
fn a_rule_is_not_about_neighbours_and_the_most_specific_decides() {
    let (alice, bob) = (signer(), signer());
    let digest = Digest::of(b"image");
    assert_eq!(ruled("a.example/foo", &[&alice], "a.example/foobar:1", &[digest], &[]), Ok(vec![]));
    assert_eq!(ruled("a.example/foo", &[&alice], "A.EXAMPLE/foo:1", &[digest], &[]), Err(Reason::Unsigned));
    let rules: Rules = [
        ("a.example".parse().unwrap(), vec![alice.public.clone()]),
        ("a.example/bobs".parse().unwrap(), vec![bob.public.clone()]),
    ]
    .into_iter()
    .collect();
    let trust = Trust { policy: Policy::default(), rules };
    let name = "a.example/bobs/app:1".parse().unwrap();
    let judge = |signature| trust.judge(Subject { name: &name, digests: &[digest] }, &[signature], &no_files);
    assert!(judge(bob.sign("a.example/bobs/app:1", digest)).is_ok());
    assert!(judge(alice.sign("a.example/bobs/app:1", digest)).is_err());
}

#[test]
fn policy_and_rules_must_both_accept() {
    let (alice, bob) = (signer(), signer());
    let digest = Digest::of(b"image");
    let name: ImageRef = "a.example/app:1".parse().unwrap();
    let policy = |requirement: &str| {
        Policy::parse(format!(r#"{{"default":[{{"type":"insecureAcceptAnything"}}],"transports":{{"docker":{{"a.example":[{requirement}]}}}}}}"#).as_bytes()).unwrap()
    };
    let signed = r#"{"type":"sigstoreSigned","keyPath":"/alice.pub"}"#;
    let rules: Rules = [("a.example".parse().unwrap(), vec![bob.public.clone()])].into_iter().collect();
    let trust = Trust { policy: policy(signed), rules };
    let read = |path: &Path| {
        assert_eq!(path, Path::new("/alice.pub"));
        Ok(alice.public.to_pem().into_bytes())
    };
    let judge = |signatures: &[Signature]| trust.judge(Subject { name: &name, digests: &[digest] }, signatures, &read);
    let (by_alice, by_bob) = (alice.sign("a.example/app:1", digest), bob.sign("a.example/app:1", digest));
    assert_eq!(trust.wants_signature(&name), Ok(true));
    assert_eq!(judge(&[by_alice.clone(), by_bob.clone()]), Ok(vec![0, 1]));
    let refusal = judge(std::slice::from_ref(&by_alice)).unwrap_err();
    assert_eq!(refusal.by, Authority::Rule("a.example".parse().unwrap()));
    assert!(refusal.to_string().contains("trust rule for a.example"), "{refusal}");
    let refusal = judge(std::slice::from_ref(&by_bob)).unwrap_err();
    assert_eq!(refusal.by, Authority::Policy { scope: "a.example".to_owned() });
    // The rules cannot make up for what the policy forbids.
    let rejecting = Trust { policy: policy(r#"{"type":"reject"}"#), rules: trust.rules.clone() };
    assert_eq!(rejecting.wants_signature(&name).unwrap_err().reason, Reason::Rejected);
}

#[test]
fn a_refusal_does_not_grow_without_end() {
    let faults = vec![Fault::Key; 100];
    let refusal = Refusal { by: Authority::Rule("a.example".parse().unwrap()), reason: Reason::Unverified(faults) };
    assert!(refusal.to_string().ends_with("and 95 more"), "{refusal}");
}
