// SPDX-License-Identifier: Apache-2.0
//! The superblock (`struct erofs_super_block`) and the device table behind it (`struct erofs_deviceslot`).

use std::io::{self, Write};

use crate::checksum::crc32c;
use crate::layout::{INODES, Layout};
use crate::{BLOCK, Device, ROOT};

/// Where the superblock stands, in bytes.
const OFFSET: usize = 1024;
/// Where the device's slot stands: right behind it. Slots are counted in their own size.
const SLOT: usize = OFFSET + SLOT_SIZE;
const SLOT_SIZE: usize = 128;

const MAGIC: u32 = 0xe0f5_e1e2;
/// The superblock has a checksum; inodes have the time of their last change.
const FEATURES_COMPATIBLE: u32 = 0x1 | 0x2;
/// Files are chunks somewhere; there is a device table.
const FEATURES_INCOMPATIBLE: u32 = 0x4 | 0x8;

/// Writes everything in front of the inodes.
pub(crate) fn write(layout: &Layout, device: &Device, out: &mut impl Write) -> io::Result<()> {
    let mut bytes = [0; INODES as usize];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(OFFSET, &MAGIC.to_le_bytes());
    put(OFFSET + 8, &FEATURES_COMPATIBLE.to_le_bytes());
    put(OFFSET + 12, &[BLOCK.trailing_zeros() as u8]);
    // It stands first, so that the number fits.
    put(OFFSET + 14, &(layout.number(ROOT) as u16).to_le_bytes());
    put(OFFSET + 16, &(layout.order.len() as u64).to_le_bytes());
    put(OFFSET + 36, &(layout.blocks as u32).to_le_bytes());
    put(OFFSET + 48, &device.uuid);
    put(OFFSET + 80, &FEATURES_INCOMPATIBLE.to_le_bytes());
    put(OFFSET + 86, &1u16.to_le_bytes());
    put(OFFSET + 88, &((SLOT / SLOT_SIZE) as u16).to_le_bytes());
    put(SLOT + 64, &(device.size.div_ceil(BLOCK) as u32).to_le_bytes());
    put(SLOT + 68, &(layout.blocks as u32).to_le_bytes());
    let checksum = crc32c(&bytes[OFFSET..OFFSET + BLOCK as usize]);
    bytes[OFFSET + 4..OFFSET + 8].copy_from_slice(&checksum.to_le_bytes());
    out.write_all(&bytes)
}
