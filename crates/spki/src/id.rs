// SPDX-License-Identifier: Apache-2.0
//! The algorithms of public keys, as an [`Envelope`](crate::Envelope) names them.

/// `id-ecPublicKey`, 1.2.840.10045.2.1 (RFC 5480). The parameters are the curve.
pub const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// `secp256r1`, 1.2.840.10045.3.1.7 (RFC 5480), as parameters: with its tag and length.
pub const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// `secp384r1`, 1.3.132.0.34 (RFC 5480), as parameters: with its tag and length.
pub const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
/// `rsaEncryption`, 1.2.840.113549.1.1.1 (RFC 8017). The parameters are [`NULL`].
pub const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// `NULL`, as parameters.
pub const NULL: &[u8] = &[0x05, 0x00];
/// `id-Ed25519`, 1.3.101.112 (RFC 8410). There are no parameters.
pub const EDWARDS: &[u8] = &[0x2b, 0x65, 0x70];
