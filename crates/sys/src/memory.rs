// SPDX-License-Identifier: Apache-2.0
//! A process's own memory.

use std::ffi::{c_int, c_void};
use std::ops::Range;

use crate::error::{Error, Result};

/// No page of a Linux machine is larger, in bytes.
const LARGEST_PAGE: usize = 64 << 10;

/// Has memory behind the next `bytes` of the heap, all at once instead of page by page at their first use: a fault is dear in a
/// virtual machine. For a program at its start that will use about so much. What the kernel does not do now (before Linux 5.14)
/// it does later.
pub fn populate_heap(bytes: usize) {
    let room = std::hint::black_box(Vec::<u8>::with_capacity(bytes));
    let (start, page) = (room.as_ptr() as usize, page_size());
    let whole = start.next_multiple_of(page)..(start + room.capacity()) / page * page;
    if !whole.is_empty() {
        // SAFETY: these pages lie within what was just allocated. Their content stays what it is.
        unsafe { libc::madvise(whole.start as *mut c_void, whole.len(), libc::MADV_POPULATE_WRITE) };
    }
}

fn page_size() -> usize {
    // SAFETY: nothing is passed.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(LARGEST_PAGE)
}

/// Takes this program's code and constants out of the process's memory. Nothing is lost: they are its file's, which the
/// kernel has cached as before, and maps again, piece by piece, where they are used. For a process that has done something
/// large that it does not do again, such as its start.
///
/// # Errors
/// The kernel refuses.
pub fn forget_program() -> Result<()> {
    let mut parts: Vec<Range<usize>> = Vec::new();
    // SAFETY: the function is called during this call alone, with a pointer to the vector, which outlives it.
    unsafe { libc::dl_iterate_phdr(Some(note), (&raw mut parts).cast()) };
    for part in parts {
        // SAFETY: the range is of whole pages of a segment of this program that nobody can write to: what is read there
        // next comes from the file again, and is what it was.
        if unsafe { libc::madvise(part.start as *mut c_void, part.len(), libc::MADV_DONTNEED) } != 0 {
            let call = format!("madvise({:#x}, {:#x}, MADV_DONTNEED)", part.start, part.len());
            return Err(Error::new(call, rustix::io::Errno::from_raw_os_error(errno())));
        }
    }
    Ok(())
}

/// Notes the segments of the program itself, the first that is told of, that are only read and executed.
unsafe extern "C" fn note(info: *mut libc::dl_phdr_info, _size: usize, parts: *mut c_void) -> c_int {
    let page = page_size();
    // SAFETY: the C library gives a valid description, with so many headers, and passes on the pointer that it was given.
    let (info, parts) = unsafe { (&*info, &mut *parts.cast::<Vec<Range<usize>>>()) };
    // SAFETY: as said there.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0) {
        let start = info.dlpi_addr as usize + header.p_vaddr as usize;
        // Whole pages: the kernel maps no less, and a neighbour may begin on the last.
        let whole = start.next_multiple_of(page)..(start + header.p_filesz as usize) / page * page;
        if !whole.is_empty() {
            parts.push(whole);
        }
    }
    // No further: other objects are not the program.
    1
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// KiB of this program's file that are in this process's memory.
    fn mapped() -> u64 {
        let text = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    #[test]
    fn the_heap_has_memory_behind_it_and_what_is_in_it_stays() {
        let before = vec![7u8; 3 * 4096];
        populate_heap(0);
        populate_heap(64 << 10);
        let room = Vec::<u8>::with_capacity(60 << 10);
        let start = (room.as_ptr() as usize).next_multiple_of(page_size());
        let pages = (room.as_ptr() as usize + room.capacity() - start) / page_size();
        let mut there = vec![0u8; pages];
        // SAFETY: a byte for each of these pages, which lie within the vector's room.
        let asked = unsafe { libc::mincore(start as *mut c_void, pages * page_size(), there.as_mut_ptr()) };
        assert_eq!(asked, 0);
        assert!(there.iter().all(|page| page & 1 == 1), "not touched yet, and there: {there:?}");
        assert!(before.iter().all(|byte| *byte == 7));
    }

    #[test]
    fn the_program_goes_on_with_less_of_itself_in_memory() {
        // What is not used again: all of it is read once.
        let parts = {
            let mut parts: Vec<Range<usize>> = Vec::new();
            // SAFETY: as above.
            unsafe { libc::dl_iterate_phdr(Some(note), (&raw mut parts).cast()) };
            parts
        };
        assert!(parts.len() >= 2, "constants and code: {parts:?}");
        let sum = || -> u64 {
            let pages = parts.iter().flat_map(|part| part.clone().step_by(4096));
            // SAFETY: these are addresses of the program's own segments, which can be read.
            pages.map(|at| u64::from(unsafe { (at as *const u8).read_volatile() })).sum()
        };
        let (first, before) = (sum(), mapped());
        forget_program().unwrap();
        let after = mapped();
        // Other tests run meanwhile and take their pieces back; before, all of it was mapped.
        assert!(after < before, "{before} KiB before, {after} KiB after");
        assert_eq!(sum(), first, "it is what it was");
    }
}
