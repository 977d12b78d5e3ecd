//! Layers: archives decompressed, verified and unpacked by descriptor.
