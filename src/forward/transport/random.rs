//! Random octets that nobody can guess: the kernel's, fetched many at a time.
//!
//! Each thread has its own supply. What was used is overwritten, so that it is in no core dump. A process that forks must not
//! do so from a thread that asks upstreams: both would go on with the same octets.

use std::cell::RefCell;
use std::io;

/// Octets of one call to the kernel. It gives up to 256 without a stop in between.
const SUPPLY: usize = 256;

struct Supply {
    octets: [u8; SUPPLY],
    /// How many of them are used.
    used: usize,
}

thread_local! {
    static OCTETS: RefCell<Supply> = const { RefCell::new(Supply { octets: [0; SUPPLY], used: SUPPLY }) };
}

/// Two random octets.
pub(super) fn random_u16() -> io::Result<u16> {
    OCTETS.with_borrow_mut(|supply| {
        if supply.used + 2 > SUPPLY {
            getrandom::fill(&mut supply.octets)?;
            supply.used = 0;
        }
        let octets = &mut supply.octets[supply.used..supply.used + 2];
        let random = u16::from_be_bytes([octets[0], octets[1]]);
        octets.fill(0);
        supply.used += 2;
        Ok(random)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_given_twice() {
        let drawn: std::collections::HashSet<u16> = (0..1000).map(|_| random_u16().unwrap()).collect();
        // 1,000 of 65,536 at random: 992 different ones on average, and fewer than 900 never.
        assert!(drawn.len() > 900, "{}", drawn.len());
    }
}
