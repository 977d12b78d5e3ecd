// SPDX-License-Identifier: Apache-2.0
//! What was written is read again, in whatever pieces it comes; what is malformed is refused.

use proptest::prelude::*;

use super::*;

const KINDS: [Kind; 11] = [
    Kind::Stdin,
    Kind::Stdout,
    Kind::Stderr,
    Kind::Request,
    Kind::Resize,
    Kind::Started,
    Kind::Exited,
    Kind::Failed,
    Kind::StdinEof,
    Kind::Ok,
    Kind::Detached,
];

fn frames() -> impl Strategy<Value = Vec<(Kind, Vec<u8>)>> {
    let frame = (0..KINDS.len(), proptest::collection::vec(any::<u8>(), 0..300)).prop_map(|(k, p)| (KINDS[k], p));
    proptest::collection::vec(frame, 0..8)
}

/// All frames of `pieces`, each standard-input frame's bytes joined with its neighbours'.
fn decode_all<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Vec<(Kind, Vec<u8>)>, FrameError> {
    let mut decoder = Decoder::default();
    let mut found: Vec<(Kind, Vec<u8>)> = Vec::new();
    for mut piece in pieces {
        while !piece.is_empty() {
            let (used, item) = decoder.feed(piece)?;
            assert!(used > 0, "every call makes progress");
            piece = &piece[used..];
            match item {
                Some(Item::Input(bytes)) => match found.last_mut() {
                    Some((Kind::Stdin, all)) => all.extend_from_slice(bytes),
                    _ => found.push((Kind::Stdin, bytes.to_vec())),
                },
                Some(Item::Frame(kind, payload)) => found.push((kind, payload)),
                None => {}
            }
        }
    }
    assert!(decoder.is_between_frames());
    Ok(found)
}

fn joined(frames: &[(Kind, Vec<u8>)]) -> Vec<(Kind, Vec<u8>)> {
    let mut out: Vec<(Kind, Vec<u8>)> = Vec::new();
    for (kind, payload) in frames {
        match out.last_mut() {
            Some((Kind::Stdin, all)) if *kind == Kind::Stdin => all.extend_from_slice(payload),
            _ if *kind == Kind::Stdin && payload.is_empty() => {}
            _ => out.push((*kind, payload.clone())),
        }
    }
    out
}

proptest! {
    #[test]
    fn a_header_survives_the_wire(kind in 0..KINDS.len(), len in 0..=MAX_PAYLOAD) {
        let header = Header::new(KINDS[kind], len).unwrap();
        prop_assert_eq!(Header::decode(header.encode()).unwrap(), header);
    }

    #[test]
    fn frames_survive_any_cutting(frames in frames(), size in 1usize..40) {
        let mut wire = Vec::new();
        for (kind, payload) in &frames {
            write_frame(&mut wire, *kind, payload).unwrap();
        }
        prop_assert_eq!(decode_all(wire.chunks(size)).unwrap(), joined(&frames));
        let mut reader = wire.as_slice();
        for frame in &frames {
            prop_assert_eq!(&read_frame(&mut reader).unwrap().unwrap(), frame);
        }
        prop_assert!(read_frame(&mut reader).unwrap().is_none());
    }

    #[test]
    fn noise_never_panics_and_never_takes_memory(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut decoder = Decoder::default();
        let mut rest = noise.as_slice();
        while !rest.is_empty() {
            match decoder.feed(rest) {
                Ok((used, _)) => rest = &rest[used..],
                Err(_) => break,
            }
        }
        prop_assert!(decoder.payload.capacity() <= 1024);
        let _ = read_frame(noise.as_slice());
    }
}

#[test]
fn what_is_malformed_is_refused() {
    let too_long = [1, 0, 0, 0, 0, 0x10, 0, 1];
    assert!(matches!(Header::decode(too_long), Err(FrameError::TooLong(n)) if n == MAX_PAYLOAD + 1));
    assert!(matches!(Header::decode([3, 0, 0, 0, 0, 0, 0, 0]), Err(FrameError::UnknownKind(3))));
    assert!(matches!(Header::decode([1, 0, 1, 0, 0, 0, 0, 0]), Err(FrameError::Reserved)));
    assert!(matches!(read_frame(&[1, 0, 0, 0, 0, 0, 0, 2, b'x'][..]), Err(FrameError::Truncated)));
    assert!(matches!(read_frame(&[1, 0, 0][..]), Err(FrameError::Truncated)));
    assert!(write_frame(io::sink(), Kind::Stdout, &vec![0; MAX_PAYLOAD + 1]).is_err());
}

#[test]
fn output_frames_are_dockers() {
    assert_eq!(encode(Kind::Stderr, b"hi\n").unwrap(), b"\x02\0\0\0\0\0\0\x03hi\n");
}
