//! Giving memory back to the system.
#![allow(unsafe_code)]

use std::fs;
use std::ops::Range;

use nix::libc;

/// The size from which glibc takes a block from the system by itself, octets; it is its own first value.
#[cfg(target_env = "gnu")]
const BY_ITSELF: libc::c_int = 128 * 1024;

/// Keeps that size where it is.
///
/// A reading of a large directory needs megabytes for a moment. glibc takes blocks of that size from the system one by one,
/// and gives them back at once, until the first is freed: then it believes that they are wanted again and keeps the next
/// ones, between what stays, for good. A server that is read to for months would grow by what one reading needs.
pub(super) fn return_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets one number of the allocator, which takes it under its own lock; any value is allowed, and blocks that
    // were given out are freed as they were made.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, BY_ITSELF);
    }
}

/// Returns what the start needed and nothing after it does: what was freed of the heap, and the program's code, of which what
/// serves is mapped again as it is run. Breakpoints that a debugger has set in it by then are lost.
pub(super) fn return_what_the_start_took() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the allocator returns pages in which it has given out nothing, under its own locks.
    unsafe {
        libc::malloc_trim(0);
    }
    for Range { start, end } in code(&fs::read_to_string("/proc/self/maps").unwrap_or_default()) {
        // SAFETY: these pages are of a file, are executed and were never written to: what is touched after this is read from
        // the file again, which is what the kernel does itself where memory is short. An error changes nothing.
        unsafe {
            libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED);
        }
    }
}

/// Where the program's own code is, by `/proc/PID/maps` (proc_pid_maps(5)): of the mappings of a file that can be executed and
/// not be written to, those of the file that is mapped first, which is the program.
fn code(maps: &str) -> Vec<Range<usize>> {
    let mappings = || {
        maps.lines().filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let (range, access) = (fields.next()?, fields.next()?);
            // The offset; then the device and the inode, which is 0 where there is no file.
            let file = (fields.nth(1)?, fields.next()?);
            Some((range, access, file)).filter(|_| file.1 != "0")
        })
    };
    let program = mappings().next().map(|(.., file)| file);
    let is_code = |access: &str, file| access == "r-xp" && Some(file) == program;
    let of_program = mappings().filter(|(_, access, file)| is_code(access, *file));
    let range = |range: &str| {
        let (start, end) = range.split_once('-')?;
        Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
    };
    of_program.filter_map(|(addresses, ..)| range(addresses)).collect()
}

#[cfg(test)]
mod tests {
    use super::code;

    #[test]
    fn code_is_what_the_program_itself_executes_and_nobody_writes_to() {
        let maps = "\
            5600a000-5600b000 r--p 00000000 fe:00 17 /usr/bin/a program\n\
            5600b000-5600f000 r-xp 00001000 fe:00 17 /usr/bin/a program\n\
            5600f000-56010000 rwxp 00005000 fe:00 17 /usr/bin/a program\n\
            56010000-56011000 rw-p 00006000 fe:00 17 /usr/bin/a program\n\
            56020000-56021000 r-xp 00000000 00:00 0\n\
            7f000000-7f001000 r-xp 00001000 fe:00 18 /usr/lib/libc.so.6\n\
            7ff00000-7ff01000 r-xp 00000000 00:00 0 [vdso]\n";
        let [range] = &code(maps)[..] else { panic!("{:x?}", code(maps)) };
        assert_eq!(*range, 0x5600b000..0x5600f000);
        assert!(code("").is_empty());
        assert!(code("nothing that a kernel writes").is_empty());
    }

    #[test]
    fn the_program_goes_on_with_its_code_returned() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let here = code as *const () as usize;
        assert!(code(&maps).iter().any(|range| range.contains(&here)), "{maps}");
        super::return_what_the_start_took();
        assert_eq!("goes on".replace(' ', "_"), "goes_on");
    }
}
