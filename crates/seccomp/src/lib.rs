//! Seccomp profiles compiled to short BPF programs.
