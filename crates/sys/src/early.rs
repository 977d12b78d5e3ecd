// SPDX-License-Identifier: Apache-2.0
//! The program's entry point, before the C library: a program that is about to launch containers executes itself
//! through a read-only mount (runtime's `protect` says why) and so pays for the C library's and Rust's start only once.
//! That start is dear in a virtual machine, where each of its forty-odd CPUID instructions traps to the hypervisor.
//!
//! A binary opts in by naming `corten_start` as its entry (`crates/cli/build.rs`). Everything here is an optimisation:
//! whatever fails, or a word that is not recognised, only means that the program starts as usual, and that
//! `protect::reexec` does the same later or says why it cannot be done.
//!
//! Nothing is set up yet: no thread-local storage, no heap, no relocated function table. So no library function may be
//! called, not even `memcmp`; bytes are read by `read_volatile`, which the compiler cannot turn into one.

use std::arch::{asm, global_asm};
use std::mem::MaybeUninit;

// The stack holds argc, argv, envp (System V ABI, "Process Initialization"); rdx is for the C library. The real entry
// finds everything as the kernel left it.
global_asm!(
    ".globl corten_start",
    ".type corten_start,@function",
    "corten_start:",
    "xor %ebp, %ebp",
    "mov %rsp, %rbx",
    "mov %rdx, %r12",
    "mov %rsp, %rdi",
    "and $-16, %rsp",
    "call {early}",
    "mov %r12, %rdx",
    "mov %rbx, %rsp",
    "jmp _start",
    ".size corten_start, . - corten_start",
    early = sym early,
    options(att_syntax)
);

/// The first argument of the zygote, and of the OCI runtime.
static ZYGOTE: &[u8] = b"zygote";
static OCI: &[u8] = b"oci";
/// The names under which the program is the OCI runtime whatever its first argument is (the program's `main`).
static RUNTIMES: [&[u8]; 2] = [b"runc", b"corten-oci"];
/// The commands of the OCI runtime that launch a container. One that stands there by chance costs an execve and changes
/// nothing. The engine's commands of these names ask the daemon.
static COMMANDS: [&[u8]; 4] = [b"run", b"create", b"exec", b"restore"];

const SELF: *const u8 = c"/proc/self/exe".as_ptr().cast();
const NOTHING: *const u8 = c"".as_ptr().cast();

/// `struct statfs` of x86-64 (statfs(2)), of which the flags matter: eleventh of fifteen words.
type Statfs = [u64; 15];
const STATFS_FLAGS: usize = 10;
const ST_RDONLY: u64 = 1;

/// `MOUNT_ATTR_RDONLY` to set, and nothing else (`struct mount_attr`, mount_setattr(2)).
static READ_ONLY: [u64; 4] = [crate::mount::ATTR_RDONLY, 0, 0, 0];

/// The start of a new program's stack: `argc`, `argc` pointers, null, the environment's pointers, null.
extern "C" fn early(stack: *const usize) {
    // SAFETY: the kernel put `argc` at the stack pointer with which it starts a program, the pointers after it, and the
    // strings they lead to, which live as long as the process. Nothing else runs yet.
    unsafe {
        let argc = stack.read();
        let argv = stack.add(1);
        let envp = argv.add(argc + 1);
        if !launches_containers(argv, argc) {
            return;
        }
        // Not zeroed: that could become a call of `memset`.
        let mut statfs = MaybeUninit::<Statfs>::uninit();
        let words = statfs.as_mut_ptr().cast::<u64>();
        if call(libc::SYS_statfs, [SELF as usize, words as usize, 0, 0, 0]) < 0
            || words.add(STATFS_FLAGS).read_volatile() & ST_RDONLY != 0
        {
            return;
        }
        let here = libc::AT_FDCWD as usize;
        let flags = (libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC) as usize;
        let program = call(libc::SYS_open_tree, [here, SELF as usize, flags, 0, 0]);
        if program < 0 {
            return;
        }
        let (program, empty) = (program as usize, libc::AT_EMPTY_PATH as usize);
        let attributes = (READ_ONLY.as_ptr() as usize, size_of_val(&READ_ONLY));
        let nothing = NOTHING as usize;
        if call(libc::SYS_mount_setattr, [program, nothing, empty, attributes.0, attributes.1]) == 0 {
            call(libc::SYS_execveat, [program, nothing, argv as usize, envp as usize, empty]);
        }
        call(libc::SYS_close, [program, 0, 0, 0, 0]);
    }
}

/// Whether this is the zygote's command line, or one of the OCI runtime with one of [`COMMANDS`].
///
/// # Safety
/// `argv` leads to `argc` pointers to strings, each ended by a zero byte.
unsafe fn launches_containers(argv: *const usize, argc: usize) -> bool {
    if argc < 2 {
        return false;
    }
    // SAFETY: there are two, `index` is below `argc`, and the caller's promise covers the strings.
    unsafe {
        let first = argv.add(1).read() as *const u8;
        if is(first, ZYGOTE) {
            return true;
        }
        if !is(first, OCI) && !is_one(file_name(argv.read() as *const u8), &RUNTIMES) {
            return false;
        }
        let mut index = 1;
        while index < argc {
            if is_one(argv.add(index).read() as *const u8, &COMMANDS) {
                return true;
            }
            index += 1;
        }
    }
    false
}

/// What stands after the last slash.
///
/// # Safety
/// `path` leads to a string ended by a zero byte.
unsafe fn file_name(path: *const u8) -> *const u8 {
    let (mut name, mut at) = (path, path);
    // SAFETY: this stops at the string's end.
    unsafe {
        loop {
            match at.read_volatile() {
                0 => return name,
                b'/' => name = at.add(1),
                _ => {}
            }
            at = at.add(1);
        }
    }
}

/// Whether the string at `text` is one of `words`.
///
/// # Safety
/// `text` leads to a string ended by a zero byte.
unsafe fn is_one(text: *const u8, words: &[&[u8]]) -> bool {
    let mut word = 0;
    while word < words.len() {
        // SAFETY: as the caller promises.
        if unsafe { is(text, words[word]) } {
            return true;
        }
        word += 1;
    }
    false
}

/// Whether the string at `text` is `word`.
///
/// # Safety
/// `text` leads to a string ended by a zero byte.
unsafe fn is(text: *const u8, word: &[u8]) -> bool {
    let mut at = 0;
    while at < word.len() {
        // SAFETY: no byte of a word is zero, so this stops at the string's end at the latest.
        if unsafe { text.add(at).read_volatile() } != word[at] {
            return false;
        }
        at += 1;
    }
    // SAFETY: all bytes before were the word's, so the string has at least its end here.
    unsafe { text.add(at).read_volatile() == 0 }
}

/// A system call, without the C library's `errno`: a negative answer is the error.
///
/// # Safety
/// As for the system call.
unsafe fn call(number: libc::c_long, arguments: [usize; 5]) -> isize {
    let returned;
    // SAFETY: the kernel's convention on x86-64 (syscall(2), "Architecture calling conventions"); it changes the two
    // registers named besides the answer's. What it reads and writes in memory is the caller's to uphold.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => returned,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            in("r8") arguments[4],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack)
        );
    }
    returned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_the_whole_argument_and_the_program_s_own_name_does_not_count() {
        let launches = |arguments: &[&std::ffi::CStr]| {
            let pointers: Vec<usize> = arguments.iter().map(|argument| argument.as_ptr() as usize).collect();
            // SAFETY: as many pointers to strings as there are arguments.
            unsafe { launches_containers(pointers.as_ptr(), pointers.len()) }
        };
        assert!(launches(&[c"corten", c"oci", c"--root", c"/r", c"create", c"id"]));
        assert!(launches(&[c"corten", c"zygote"]));
        assert!(!launches(&[c"run", c"oci", c"runs", c"ru", c"", c"-run"]));
        assert!(!launches(&[c"corten"]) && !launches(&[]));
    }

    #[test]
    fn the_flags_are_where_statfs_says() {
        let mut raw: Statfs = [0; 15];
        // SAFETY: a string, and room for the structure.
        let answer =
            unsafe { call(libc::SYS_statfs, [c"/proc".as_ptr() as usize, raw.as_mut_ptr() as usize, 0, 0, 0]) };
        assert_eq!(answer, 0);
        assert_eq!(raw[STATFS_FLAGS], rustix::fs::statvfs("/proc").unwrap().f_flag.bits());
    }
}
